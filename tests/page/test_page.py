"""The live page in a real browser: what people see of calls and of load, and what they must not see."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, cast
from typing import Final as Constant

import numpy as np
import pytest
import soundfile
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page, expect
from websockets.asyncio.client import connect

from server.apis import subtitles
from streaming.audio import decode
from streaming.call import AudioFormat, CallSpec, Encoding
from streaming.decoding import Word
from streaming.log import Topic
from streaming.record_codec import encode
from streaming.records import EndReason, Fence, Partial
from streaming.records import Final as FinalRecord
from tests.support.browser import Tab, clip, live, opened
from tests.support.gateways import START, Running, running, say, settings
from tests.support.servers import ServerProcess
from tests.support.tones import flat, sentences, spoken
from trunkline import Audio, Final, watch
from trunkline import connect as call_up

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("chromium")]

SEEN_WITHIN_S: Constant = 1.0
"""From a message's arrival at another client to its words on the page."""
FRAME_MS: Constant = 50.0
"""Longest frame that still counts as smooth, at the 95th percentile."""
MANY: Constant = 200
MULAW: Constant = AudioFormat(Encoding.MULAW, 8000, 2)

NOTES_WORDS: Constant = """
window.appeared = [];
new MutationObserver(() => {
  for (const line of document.querySelectorAll("#call-pane .lines p")) {
    if (!window.appeared.some((each) => each.text === line.textContent)) {
      window.appeared.push({ text: line.textContent, at: Date.now() / 1000 });
    }
  }
}).observe(document, { subtree: true, childList: true, characterData: true });
"""
"""JavaScript that notes when each final was first on the page."""

COUNTS_FRAMES: Constant = """
async (seconds) => {
  const gaps = [];
  let before = await new Promise(requestAnimationFrame);
  const end = before + seconds * 1000;
  while (before < end) {
    const now = await new Promise(requestAnimationFrame);
    gaps.push(now - before);
    before = now;
  }
  return gaps;
}
"""


async def test_the_words_of_a_call_appear_within_a_second_of_their_message(real: ServerProcess) -> None:
    """The page is to be as live as the protocol: interim words first, then finals, of both sides."""
    samples, rate = cast("tuple[Any, int]", soundfile.read(clip("call/call.wav"), dtype="int16", frames=8000 * 16))
    audio = Audio("linear16", rate, channels=2)
    told: dict[str, float] = {}

    async def listen() -> None:
        async with watch(real.url, "demo", wait_s=10.0) as watched:
            async for message in watched:
                if isinstance(message, Final):
                    told[message.text] = time.time()

    async with opened(live(real), init=NOTES_WORDS) as tab:
        await expect(tab.page.locator("#link-state")).to_have_text("Live")
        await expect(tab.page.locator("#calls-empty")).to_be_visible()
        listening = asyncio.create_task(listen())
        async with call_up(real.url, audio=audio, call="demo", labels=["customer", "agent"]) as call:
            playing = asyncio.create_task(play(call, samples.tobytes(), audio))
            await tab.page.get_by_role("link", name="demo").click()
            await expect(tab.page.locator("#call-pane .interim .line").first).to_be_visible()
            await expect(tab.page.locator("#call-pane .interim .open").first).not_to_be_empty()
            await expect(tab.page.locator("#calls-list .row-said").first).not_to_be_empty()
            await playing
            await tab.picture("call")
        await listening
        await expect(tab.page.locator("#call-pane header .pill")).to_have_text("Over: hangup")
        appeared = {each["text"]: each["at"] for each in await tab.page.evaluate("window.appeared")}
        await expect(tab.page.locator("#call-pane .lines small").first).to_contain_text("en · tiny.en ·")

    late = [appeared[text] - at for text, at in told.items()]
    assert len(late) >= 4
    print(f"words were on the page at most {max(late):.3f} s after their message came to another client")  # noqa: T201
    assert max(late) < SEEN_WITHIN_S


async def play(call: Any, samples: bytes, audio: Audio) -> None:
    """Send a recording in real time."""
    size = audio.second_bytes // 25
    began = time.monotonic()
    for at in range(0, len(samples), size):
        await asyncio.sleep(max(0.0, began + at / audio.second_bytes - time.monotonic()))
        await call.send(samples[at : at + size])


async def test_the_microphone_yields_the_words(real: ServerProcess, tmp_path: Path) -> None:
    """A newcomer talks and sees it work."""
    spoken_words, rate = cast("tuple[Any, int]", soundfile.read(clip("clips/unusual_16k.wav"), dtype="int16"))
    pause = np.zeros(rate * 2, np.int16)
    recording = tmp_path / "speech.wav"
    soundfile.write(recording, np.concatenate([pause[:rate], spoken_words, pause]), rate, subtype="PCM_16")
    flags = (
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-audio-capture={recording}%noloop",
    )
    async with opened(live(real, "try"), flags=flags) as tab:
        await tab.page.get_by_role("button", name="Speak").click()
        await expect(tab.page.locator("#try-transcript .lines p").first).to_be_visible()
        await expect(tab.page.locator("#try-transcript .lines")).to_contain_text("unusual thing")
        await tab.picture("try")
        await tab.page.get_by_role("button", name="Stop").click()
        await expect(tab.page.locator("#try-status")).to_contain_text("Over:")
        await expect(tab.page.get_by_role("button", name="Speak")).to_be_enabled()


async def test_a_recording_is_played_and_downloads_hold_what_was_said(scripted: ServerProcess, tmp_path: Path) -> None:
    """Text, SRT, VTT and JSON of the same finals; SRT and VTT with the times that the server itself would write."""
    said = sentences(2, seed=9)
    recording = tmp_path / "tones.wav"
    soundfile.write(recording, decoded(spoken(said)), 8000, subtype="PCM_16")
    async with opened(live(scripted, "try")) as tab:
        await tab.page.locator("#try-aloud").uncheck()
        await tab.page.locator("#try-file").set_input_files(recording)
        await expect(tab.page.locator("#try-status")).to_contain_text("Over: 0:0")
        lines = await tab.page.locator("#try-transcript .lines p").all_text_contents()
        assert " ".join(lines).split() == flat(said)
        files = {name: await downloaded(tab, name) for name in ("txt", "srt", "vtt", "json")}

    finals = json.loads(files["json"])["finals"]
    records = [record(final) for final in finals]
    assert [final["text"] for final in finals] == lines
    assert files["srt"].replace("recording: ", "") == subtitles.srt(records)
    assert files["vtt"].replace("<v recording>", "") == subtitles.vtt(records)
    assert [line.partition("recording: ")[2] for line in files["txt"].splitlines()] == lines


def decoded(mulaw: bytes) -> np.ndarray[Any, Any]:
    """Return telephone samples as numbers."""
    return np.asarray(decode(mulaw, Encoding.MULAW))


async def downloaded(tab: Tab, name: str) -> str:
    """Return what a press on a format's button gives."""
    async with tab.page.expect_download() as waiting:
        await tab.page.locator(f"#try-transcript [data-format={name}]").click()
    download = await waiting.value
    assert download.suggested_filename.endswith(f".{name}")
    return (await asyncio.to_thread(Path(await download.path()).read_bytes)).decode()


def record(final: dict[str, Any]) -> FinalRecord:
    """Return a final as the server has it."""
    words = tuple(Word(**word) for word in final["words"])
    reason = EndReason(final["reason"])
    return FinalRecord(0, "", 0, final["number"], 0, 0, words, "en", 1.0, "m", reason, final["speech_end"], 0.0)


async def test_search_marks_what_it_finds_and_steps_through_it(scripted: ServerProcess) -> None:
    """By keyboard alone, from the list to the match."""
    said = [("alfa", "bravo", "alfa"), ("charlie", "delta", "echo"), ("golf", "alfa", "hotel")]
    async with opened(live(scripted)) as tab:
        async with call_up(scripted.url, audio=Audio("mulaw", 8000), call="searched", labels=["one"]) as call:
            await call.send(spoken(said))
        await tab.page.get_by_role("link", name="searched").focus()
        await tab.page.keyboard.press("Enter")
        await expect(tab.page.locator("#call-pane .lines p")).to_have_count(3)
        await tab.page.get_by_role("searchbox", name="Search in this call").focus()
        await tab.page.keyboard.type("ALFA")
        await expect(tab.page.locator("#call-pane mark")).to_have_count(3)
        await expect(tab.page.locator("#call-pane .hits")).to_have_text("3 found")
        for hit in (1, 2, 3, 1):
            await tab.page.keyboard.press("Enter")
            await expect(tab.page.locator("#call-pane .hits")).to_have_text(f"{hit} of 3")
        await tab.page.keyboard.press("Shift+Enter")
        await expect(tab.page.locator("#call-pane .hits")).to_have_text("3 of 3")
        await tab.picture("search")
        await tab.page.locator("#call-pane input").fill("")
        await expect(tab.page.locator("#call-pane mark")).to_have_count(0)


async def test_the_plots_move_under_load(scripted: ServerProcess) -> None:
    """An operator sees where the load is, as it comes."""
    async with opened(live(scripted, "load")) as tab:
        finals, used = tab.page.locator("#plots canvas").nth(0), tab.page.locator("#plots canvas").nth(1)
        await expect(used).to_have_attribute("aria-label", "Utilisation: cpu-0 0 %")
        idle = await tab.page.evaluate("document.querySelectorAll('canvas')[1].toDataURL()")
        calls = [call_through(scripted, sentences(4, seed)) for seed in range(8)]
        busy = asyncio.gather(*calls)
        await expect(tab.page.locator(".tile dd").first).to_have_text("8")
        await expect(finals).to_have_attribute("aria-label", re.compile(r"median \d.* 95 % \d"))
        assert await tab.page.evaluate("document.querySelectorAll('canvas')[1].toDataURL()") != idle
        await expect(tab.page.locator(".card[data-state=ready]")).to_have_count(1)
        await busy
        await tab.picture("load")


async def call_through(server: ServerProcess, said: list[tuple[str, ...]]) -> None:
    """Make one call of tones in real time."""
    audio = Audio("mulaw", 8000)
    async with call_up(server.url, audio=audio) as call:
        await play(call, spoken(said), audio)


async def test_a_key_shows_its_own_tenants_calls_and_no_others() -> None:
    """What one caller says is nobody else's to read, in a list or by its address."""
    keys = '{acme = ["key-of-acme"], other = ["key-of-other"]}'
    async with (
        running(settings(auth__keys=keys)) as served,
        connect(served.url("/v1/stream?token=key-of-acme")) as socket,
    ):
        await say(socket, {**START, "call": "secret-call"})
        await socket.recv()
        await socket.send(b"\xff" * 8000)
        async with opened(live(served.port)) as tab:
            await expect(tab.page.get_by_role("dialog")).to_be_visible()
            await tab.picture("key")
        async with opened(live(served.port), expected=("404",)) as tab:
            await give_key(tab.page, "key-of-other")
            await expect(tab.page.locator("#link-state")).to_have_text("Live")
            await expect(tab.page.locator("#calls-empty")).to_be_visible()
            await tab.page.goto(live(served.port, "calls/secret-call"))
            await expect(tab.page.locator("#call-pane .pill")).to_have_text("Not a call you can see")
            assert "word0" not in await tab.page.content()
        async with opened(live(served.port)) as tab:
            await give_key(tab.page, "key-of-acme")
            await tab.page.get_by_role("link", name="secret-call").click()
            await expect(tab.page.locator("#call-pane .lines p").first).to_have_text("word0")
            assert "key-of-acme" not in tab.page.url


async def test_a_key_that_is_wrong_or_cannot_be_sent_is_asked_for_again() -> None:
    """And the page says which of the two it is."""
    async with (
        running(settings(auth__keys='{acme = ["right"]}')) as served,
        opened(live(served.port), expected=("401", "HTTP Authentication failed")) as tab,
    ):
        await give_key(tab.page, "of two words")
        await expect(tab.page.locator("#key-problem")).to_contain_text("openssl rand -hex 32")
        await give_key(tab.page, "wrong")
        await expect(tab.page.locator("#key-problem")).to_have_text("This key is not known to the server.")
        await give_key(tab.page, "right")
        await expect(tab.page.locator("#link-state")).to_have_text("Live")


async def give_key(page: Page, key: str) -> None:
    """Type a key into the dialog."""
    await page.locator("#key-input").fill(key)
    await page.get_by_role("button", name="Open").click()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
async def test_axe_finds_nothing_serious_on_any_view(dark: bool, scripted: ServerProcess) -> None:
    """Contrast, names, roles and order, in both sets of colours and on a phone."""
    name = "dark" if dark else "light"
    said = [("alfa", "bravo"), ("charlie", "delta")]
    async with call_up(scripted.url, audio=Audio("mulaw", 8000), call=f"shown-{name}", labels=["customer"]) as call:
        await call.send(spoken(said))
        async with opened(live(scripted, f"calls/shown-{name}"), dark=dark, phone=dark) as tab:
            await expect(tab.page.locator("#call-pane .lines p").first).to_be_visible()
            for view in (f"calls/shown-{name}", "calls", "load", "try"):
                await tab.page.goto(live(scripted, view))
                await asyncio.sleep(1.2 if view == "load" else 0.2)  # a sample of the load comes every second
                await tab.picture(f"{name}-{view.partition('/')[0] if '/' not in view else 'call'}")
                audit = cast("Awaitable[Any]", Axe().run(tab.page))  # pyright: ignore[reportUnknownMemberType] - untyped
                found = cast("list[dict[str, Any]]", (await audit).response["violations"])
                serious = [each for each in found if each["impact"] in ("serious", "critical")]
                assert not serious, json.dumps([(each["id"], each["nodes"][0]["html"]) for each in serious], indent=1)


async def test_two_hundred_calls_stay_smooth() -> None:
    """Four hundred sides that change their words every second, beside a call that is read."""
    async with running() as served, opened(live(served.port)) as tab:
        for number in range(MANY):
            spec = CallSpec(f"call-{number}", "local", MULAW, ("customer", "agent"), opened_at=time.time())
            served.gateway.directory.place(spec, number % 4)
        await expect(tab.page.locator("#calls-list li")).to_have_count(MANY)
        await expect(tab.page.locator("#calls-count")).to_have_text(str(MANY))
        talking = asyncio.create_task(talk(served))
        await tab.page.goto(live(served.port, "calls/call-199"))
        await expect(tab.page.locator("#call-pane .interim .line")).to_have_count(2)
        gaps: list[float] = await tab.page.evaluate(COUNTS_FRAMES, 5)
        await tab.picture("many")
        talking.cancel()

    at_95 = sorted(gaps)[int(len(gaps) * 0.95)]
    print(f"{len(gaps)} frames in 5 s, 95 % within {at_95:.1f} ms, the longest {max(gaps):.1f} ms")  # noqa: T201
    assert at_95 < FRAME_MS


async def talk(served: Running) -> None:
    """Let every side of every call say something new once a second."""
    for slot in range(served.log.slots):
        await served.log.append(Topic.OUT, slot, "", encode(Fence(0, "made-up")))
    words = [Word(f"word{number}", 0.0, 1.0, 1.0) for number in range(12)]
    for revision in itertools.count():
        said = tuple(words[: 3 + revision % 9])
        for number in range(MANY):
            for channel in range(2):
                partial = Partial(0, f"call-{number}", channel, 0, revision, said, 2, 0.0, 1.0, "en", "made-up")
                await served.log.append(Topic.PARTIALS, number % 4, partial.call, encode(partial))
            if number % 20 == 19:
                await asyncio.sleep(0.1)
