// @deepgram/sdk for JavaScript. Arguments: port, port of Wyoming (unused), 16-bit mono recording.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const require = createRequire(pathToFileURL(process.cwd() + "/"));
const { DeepgramClient } = require("@deepgram/sdk");
const version = JSON.parse(readFileSync("node_modules/@deepgram/sdk/package.json")).version;
const [port, , path] = process.argv.slice(2);
const file = readFileSync(path);
const rate = file.readUInt32LE(24);
const samples = Buffer.concat([file.subarray(44), Buffer.alloc(2 * rate)]);
const ws = `ws://127.0.0.1:${port}`;
const web = `http://127.0.0.1:${port}`;
const client = new DeepgramClient({
  apiKey: "any",
  environment: { base: web, production: ws, agent: ws, agentRest: web },
});
const told = { version, partials: 0, finals: [], proved: "live results, Metadata" };
const connection = await client.listen.v1.connect({
  model: "nova-3",
  encoding: "linear16",
  sample_rate: rate,
  interim_results: "true",
});
let metadata = false;
connection.on("message", (message) => {
  if (message.type === "Metadata") metadata = true;
  if (message.type !== "Results") return;
  const text = message.channel.alternatives[0].transcript;
  if (message.is_final) {
    if (text) told.finals.push(text);
  } else told.partials += 1;
});
const closed = new Promise((resolve) => connection.on("close", resolve));
connection.connect();
await connection.waitForOpen();
const size = 2 * Math.round(rate / 10);
for (let at = 0; at < samples.length; at += size) {
  connection.sendMedia(samples.subarray(at, at + size));
  await new Promise((resolve) => setTimeout(resolve, 100));
}
connection.sendCloseStream({ type: "CloseStream" });
const late = setTimeout(() => process.exit(1), 20000);
while (!metadata) await new Promise((resolve) => setTimeout(resolve, 10));
clearTimeout(late);
console.log("\n" + JSON.stringify(told));
process.exit(0);
