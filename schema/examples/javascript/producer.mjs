// Announces tasks that were submitted to APIXO, so that the relay looks after them until
// each has ended as an event. Beside a relay that runs with RELAY_EXPECT=true:
//
//   npm ci
//   node producer.mjs nano-banana task_abc123xyz
//
// NATS_URL names the broker; without it, the relay's embedded one on this machine.
//
// A service calls announce with the id in APIXO's answer to its request, and again after a
// restart for each task of which it does not know that it has ended: to announce one twice
// changes nothing. ../../DELIVERY.md says what else there is to know.
import { JetStreamApiCodes, JetStreamApiError, jetstream } from "@nats-io/jetstream";
import { Kvm } from "@nats-io/kv";
import { connect } from "@nats-io/transport-node";

const [model, ...ids] = process.argv.slice(2);
if (ids.length === 0) throw new Error("a model and the ids of tasks are needed: node producer.mjs nano-banana task_abc123xyz");

// A key takes no colon, and no dot at its ends or beside another: they stand as =3A and =2E.
const keyOf = (id) => id.replaceAll(":", "=3A").replaceAll(/^\.|\.$|\.(?=\.)|(?<=\.)\./g, "=2E");

// Returns whether the task was not in the bucket yet. After an error it may be there or
// not: announce it again.
async function announce(bucket, id, task) {
  // What the relay cannot ask for it would put aside, where nobody may look soon.
  for (const text of [id, task.model]) {
    if (!/^[A-Za-z0-9_.:-]{1,128}$/.test(text)) throw new Error(`${text} is neither a task's id nor a model`);
  }
  try {
    // Not put: it writes what is there already, and says nothing of that.
    await bucket.create(keyOf(id), JSON.stringify(task));
    return true;
  } catch (err) {
    // Two codes for one thing: buckets with replicas have one of their own.
    const { StreamWrongLastSequence, StreamWrongLastSequenceUnknown } = JetStreamApiCodes;
    if (err instanceof JetStreamApiError && [StreamWrongLastSequence, StreamWrongLastSequenceUnknown].includes(err.code)) return false;
    throw new Error(`announcing ${id}: ${err.message}; does the relay run with RELAY_EXPECT=true?`);
  }
}

const nc = await connect({ servers: process.env.NATS_URL ?? "nats://127.0.0.1:4222" });
try {
  const kvm = new Kvm(jetstream(nc, { checkAPI: false })); // which would need a permission more
  const bucket = await kvm.open("APIXO_EXPECTED", { allow_direct: true });
  for (const id of ids) {
    console.log(id, (await announce(bucket, id, { model })) ? "announced" : "was announced already");
  }
} finally {
  await nc.close();
}
