// Reads the relay's events from NATS JetStream as CloudEvents.
//
//   npm ci
//   node consumer.mjs                    print every event, then follow
//   node consumer.mjs --durable worker   go on where the last run ended
//
// NATS_URL names the broker; without it, the relay's embedded one on this machine.
import { parseArgs } from "node:util";
import { jetstream, jetstreamManager } from "@nats-io/jetstream";
import { connect } from "@nats-io/transport-node";
import { HTTP } from "cloudevents";

const { values: options } = parseArgs({
  options: {
    stream: { type: "string", default: "APIXO" }, // APIXO_QUARANTINE has what could not become an event
    subject: { type: "string", default: ">" }, // apixo.task.failed, for instance
    durable: { type: "string" }, // name of a consumer that the broker remembers
    count: { type: "string", default: "Infinity" }, // stop after so many events
    json: { type: "boolean", default: false }, // print whole CloudEvents, one a line
  },
});

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

const nc = await connect({
  servers: process.env.NATS_URL ?? "nats://127.0.0.1:4222",
  maxReconnectAttempts: -1, // the default gives up after 10
});
const js = jetstream(nc);
if (options.durable) {
  const jsm = await jetstreamManager(nc);
  await jsm.consumers.add(options.stream, {
    durable_name: options.durable,
    ack_policy: "explicit",
    filter_subject: options.subject,
  });
}
// Without a name it is an ordered consumer: all that is stored, from the start.
const consumer = await js.consumers.get(options.stream, options.durable ?? { filter_subjects: options.subject });

let left = Number(options.count);
for await (const msg of await consumer.consume()) {
  const event = toCloudEvent(msg);
  if (options.json) {
    console.log(JSON.stringify(event));
  } else {
    const { resultUrls, failCode } = event.data ?? {};
    console.log(event.id, event.type, event.model ?? "-", failCode || resultUrls?.join(" ") || "-");
  }
  // Acknowledge after the work is done: what is not, comes again. The event's id
  // is the same in every delivery, so work that notes it is not done twice.
  if (options.durable) await msg.ackAck();
  if (--left <= 0) break;
}
await nc.drain();
