// Connections to the server: where it is, the key, and feeds that come back by themselves.

const KEY = "trunkline.key";
const PROTOCOL = "trunkline.v1";
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 8000;

/** The key that was given in this tab, or null. */
export const key = {
  get: () => sessionStorage.getItem(KEY),
  set: (value) => sessionStorage.setItem(KEY, value),
  forget: () => sessionStorage.removeItem(KEY),
  /** Whether a browser can send it: it travels as a subprotocol's name. */
  fits: (value) => /^[\w!#$%&'*+.^`|~-]+$/.test(value),
};

/** The address of a path of the server; the page lies one folder below its root. */
function address(path, scheme) {
  const where = new URL(`..${path}`, document.baseURI);
  if (scheme) where.protocol = where.protocol === "https:" ? "wss:" : "ws:";
  return where;
}

/** Open a WebSocket that shows the key. */
export function open(path) {
  const known = key.get();
  return new WebSocket(address(path, "ws"), known ? [PROTOCOL, known] : [PROTOCOL]);
}

/** What the server says about itself to everybody. */
export async function about() {
  return (await fetch("about.json")).json();
}

/** Why a connection was refused: the status and the server's own words; status 0 where nobody answers. */
export async function refusal(path) {
  const known = key.get();
  try {
    const answer = await fetch(address(path), { headers: known ? { Authorization: `Bearer ${known}` } : {} });
    if (answer.status === 426 || answer.ok) return { status: 0, message: "" }; // a WebSocket may be opened here now
    const { error } = await answer.json();
    return { status: answer.status, message: error?.message ?? answer.statusText };
  } catch {
    return { status: 0, message: "" };
  }
}

/**
 * A feed of messages that connects again until it is closed or refused for good.
 *
 * `on.message(message)` gets each; `on.state(state, detail)` hears `connecting`, `live`, `lost`, `refused` (with the
 * status and message). Each time it is live again, everything is told from the beginning: listeners start afresh.
 */
export class Feed {
  #path;
  #on;
  #socket = null;
  #wait = FIRST_WAIT_MS;
  #timer = 0;
  #closed = false;

  constructor(path, on) {
    this.#path = path;
    this.#on = on;
    this.#connect();
  }

  close() {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#socket?.close();
  }

  #connect() {
    this.#on.state?.("connecting");
    const socket = (this.#socket = open(this.#path));
    let opened = false;
    socket.onopen = () => {
      opened = true;
      this.#wait = FIRST_WAIT_MS;
      if (!this.#closed) this.#on.state?.("live");
    };
    socket.onmessage = ({ data }) => {
      if (!this.#closed) this.#on.message(JSON.parse(data));
    };
    socket.onclose = async ({ code }) => {
      if (this.#closed) return;
      if (code === 1000) {
        this.#closed = true; // the server had nothing more to say
        this.#on.state?.("over");
        return;
      }
      const why = opened ? { status: 0, message: "" } : await refusal(this.#path);
      if (this.#closed) return;
      if (why.status >= 400 && why.status < 500 && why.status !== 429) {
        this.#closed = true;
        this.#on.state?.("refused", why);
        return;
      }
      this.#on.state?.("lost", why);
      this.#timer = setTimeout(() => this.#connect(), this.#wait);
      this.#wait = Math.min(this.#wait * 2, LONGEST_WAIT_MS);
    };
  }
}
