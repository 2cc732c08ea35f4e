// Reads an AsyncAPI document from standard input, and prints as JSON what
// AsyncAPI's own parser finds in it: what is wrong, and its operations.
import { text } from "node:stream/consumers";
import { Parser } from "@asyncapi/parser";

const parser = new Parser();
const { document, diagnostics } = await parser.parse(await text(process.stdin));
const operations = (document?.operations().all() ?? []).map((o) => ({
  action: o.action(),
  subjects: o.channels().all().map((c) => c.address()),
  messages: o.messages().all().map((m) => m.name() + " " + m.contentType()),
}));
console.log(JSON.stringify({
  problems: diagnostics.map((d) => `${["error", "warning", "information", "hint"][d.severity]}: ${d.message} (/${d.path.join("/")})`),
  operations,
}));
