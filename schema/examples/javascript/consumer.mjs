// Reads the relay's events from NATS JetStream as CloudEvents.
//
//   npm ci
//   node consumer.mjs                    print every event, then follow
//   node consumer.mjs --durable worker   go on where the last run ended
//   node consumer.mjs --durable worker --dir results   and download the results
//
// NATS_URL names the broker; without it, the relay's embedded one on this machine.
//
// With --durable it is a worker: an event is acknowledged after the work is done,
// so it can come again. What fails for the time being is tried again, later and
// later; what cannot be done goes to a stream of dead letters, with the reason.
// ../../DELIVERY.md says why each of these is needed.
import { mkdir, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { jetstream, jetstreamManager } from "@nats-io/jetstream";
import { connect, headers } from "@nats-io/transport-node";
import { HTTP } from "cloudevents";

const { values: options } = parseArgs({
  options: {
    stream: { type: "string", default: "APIXO" }, // APIXO_QUARANTINE has what could not become an event
    subject: { type: "string", default: ">" }, // apixo.task.failed, for instance
    durable: { type: "string" }, // name of a consumer that the broker remembers
    dir: { type: "string" }, // download results into this folder
    tries: { type: "string", default: "5" }, // how often to try before an event becomes a dead letter
    backoff: { type: "string", default: "1000" }, // ms before the second try; twice as many before each further one
    "ack-wait": { type: "string", default: "30000" }, // ms without a word after which the broker delivers again
    count: { type: "string", default: "Infinity" }, // stop after so many events
    json: { type: "boolean", default: false }, // print whole CloudEvents, one a line
  },
});
const tries = Number(options.tries);
const backoff = Number(options.backoff);
const ackWait = Number(options["ack-wait"]);
for (const [name, value] of Object.entries({ tries, backoff, "ack-wait": ackWait })) {
  if (!(value > 0)) throw new Error(`--${name} ${options[name]} is no number above 0`);
}
// A folder that cannot be written to is no event's fault, and is seen at once.
if (options.dir) await mkdir(options.dir, { recursive: true });
const workTimeout = 5 * 60_000; // ms that one try may take

// The stream of dead letters, and the first token of its subjects.
const deadStream = "DEAD_LETTERS";
const deadPrefix = "dead";

// What another try would not mend.
class PermanentError extends Error {}

// The cloudevents package knows NATS under no name of its own, but its HTTP
// reader takes any headers and body. What the NATS binding does otherwise than
// the HTTP binding is put right here; with it, both content modes
// (RELAY_CE_MODE) are read alike.
function toCloudEvent(msg) {
  const headers = {};
  for (const [name, [value]] of msg.headers ?? []) {
    // Attributes stand in ce-* headers, percent-encoded, which HTTP.toEvent leaves to us.
    const attribute = name.toLowerCase().startsWith("ce-");
    headers[name.toLowerCase()] = attribute ? decodeURIComponent(value) : value;
  }
  const structured = headers["content-type"]?.toLowerCase().startsWith("application/cloudevents");
  if (!structured) {
    // HTTP has this one attribute in its own header, NATS with the others.
    headers["content-type"] = headers["ce-datacontenttype"];
    delete headers["ce-datacontenttype"];
  }
  // A text is parsed as JSON; bytes are left as they are. What is quarantined
  // is whatever somebody sent, so it had better not be parsed.
  const isJSON = structured || headers["ce-type"]?.startsWith("ai.apixo.task.");
  const event = HTTP.toEvent({ headers, body: isJSON ? msg.string() : msg.data });
  event.validate(); // toEvent does not; it throws if, say, the source is missing
  return event;
}

// The work. It may be called again for an event that it has dealt with, and has
// to bear that: here a second download overwrites the first.
async function work(msg) {
  let event;
  try {
    event = toCloudEvent(msg);
  } catch (err) {
    throw new PermanentError(`not an event: ${err.message}`); // somebody else published this
  }
  const { resultUrls, failCode } = event.data ?? {};
  if (options.dir) {
    for (const [i, url] of (event.type === "ai.apixo.task.success" ? resultUrls : []).entries()) {
      // The id has no slash, so it can be in the name of a file.
      await download(url, join(options.dir, `${event.id}-${i}`));
    }
  }
  if (options.json) {
    console.log(JSON.stringify(event));
  } else {
    console.log(event.id, event.type, event.model ?? "-", failCode || resultUrls?.join(" ") || "-");
  }
}

// Fetches a file, which is whole or not there at all.
async function download(url, path) {
  try {
    new URL(url);
  } catch {
    throw new PermanentError(`${url} is no address`);
  }
  const res = await fetch(url, { signal: AbortSignal.timeout(workTimeout) });
  if (!res.ok) {
    const temporary = res.status >= 500 || res.status === 429 || res.status === 408;
    throw new (temporary ? Error : PermanentError)(`${url} answered ${res.status}`); // gone, for example: results expire
  }
  const part = `${path}.${process.pid}.part`;
  await writeFile(part, Buffer.from(await res.arrayBuffer()));
  await rename(part, path);
}

// Works on a message and tells the broker how that ended. Returns whether the
// message is dealt with, and will not come again.
async function handle(msg) {
  const count = msg.info.deliveryCount;
  // More deliveries than tries: the last one ended without a word, so perhaps
  // this very event makes the program crash.
  if (count > tries) return await bury(msg, `given up after ${count - 1} tries that ended without a word`);
  // As long as the work lasts, the broker is told that somebody is on it.
  const alive = setInterval(() => msg.working(), ackWait / 3);
  try {
    await work(msg);
  } catch (err) {
    const why = err.cause?.message ?? err.message; // fetch tells more in the cause
    if (err instanceof PermanentError) return await bury(msg, err.message);
    if (count === tries) return await bury(msg, `given up after ${tries} tries: ${why}`);
    const delay = Math.min(backoff * 2 ** (count - 1), 3_600_000);
    console.error(`try ${count} of ${tries} failed, the next is in ${delay} ms: ${why}`);
    msg.nak(delay);
    return false;
  } finally {
    clearInterval(alive);
  }
  // ackAck waits until the broker knows. If it does not, the event comes again.
  return await msg.ackAck();
}

// Stores a message as a dead letter and ends its delivery, in this order: a
// program that dies in between does both again, and the letter's id makes it one.
async function bury(msg, reason) {
  reason = reason.replaceAll(/[\r\n]/g, " ");
  const letter = headers();
  for (const [name, values] of msg.headers ?? []) {
    if (name !== "Nats-Msg-Id") for (const value of values) letter.append(name, value);
  }
  letter.set("Dead-Letter-Reason", reason);
  letter.set("Dead-Letter-Subject", msg.subject);
  letter.set("Dead-Letter-Sequence", `${msg.seq}`);
  await js.publish(`${deadPrefix}.${options.durable}`, msg.data, {
    headers: letter,
    msgID: `${options.stream}.${options.durable}.${msg.seq}`,
  });
  console.error(`dead letter of ${msg.subject}, sequence ${msg.seq}: ${reason}`);
  msg.term(reason);
  return true;
}

const nc = await connect({
  servers: process.env.NATS_URL ?? "nats://127.0.0.1:4222",
  maxReconnectAttempts: -1, // the default gives up after 10
});
const js = jetstream(nc);
if (options.durable) {
  const jsm = await jetstreamManager(nc);
  await jsm.streams.add({ name: deadStream, subjects: [`${deadPrefix}.>`] });
  await jsm.consumers.add(options.stream, {
    durable_name: options.durable,
    ack_policy: "explicit",
    ack_wait: ackWait * 1e6, // ns
    filter_subject: options.subject,
    // No max_deliver: at that the broker would give up without a dead letter.
    // handle counts instead.
  });
}
// Without a name it is an ordered consumer: all that is stored, from the start.
const consumer = await js.consumers.get(options.stream, options.durable ?? { filter_subjects: options.subject });

// A worker takes one at a time: what waits here while another is worked on would
// be taken for lost after ack-wait, and delivered to somebody else too.
let stopping = false;
async function* oneByOne() {
  for (const signal of ["SIGINT", "SIGTERM"]) {
    process.once(signal, () => (stopping = true)); // after the work in hand; a second signal ends at once
  }
  while (!stopping) {
    try {
      const msg = await consumer.next({ expires: 2000 });
      if (msg) yield msg;
    } catch (err) {
      console.error(`the broker does not answer, and is asked again: ${err.message}`);
      await new Promise((resolve) => setTimeout(resolve, 1000));
    }
  }
}

let left = Number(options.count);
for await (const msg of options.durable ? oneByOne() : await consumer.consume()) {
  if (!options.durable) {
    await work(msg);
  } else if (!(await handle(msg).catch(unconfirmed(msg)))) {
    continue;
  }
  if (--left <= 0) break;
}
await nc.drain();

// What the broker does not hear, it makes up for by delivering the event again.
function unconfirmed(msg) {
  return (err) => {
    console.error(`${msg.subject}, sequence ${msg.seq}: the broker does not confirm: ${err.message}`);
    return false;
  };
}
