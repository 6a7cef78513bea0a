// An extension of pi that gives it the tools of MCP servers, which it has no support for.
// The servers and their headers are in the private file that SWARM_PI_MCP names.
import { readFileSync } from "node:fs";

const START_MS = 20_000;
const CALL_MS = 300_000;
const VERSION = "2025-06-18";

/** Yield the messages of an answer, which is JSON or a stream of events. */
async function* messagesOf(answer) {
  if (!answer.headers.get("content-type")?.includes("text/event-stream")) {
    yield* [await answer.json()].flat();
    return;
  }
  let rest = "";
  for await (const chunk of answer.body.pipeThrough(new TextDecoderStream())) {
    const events = (rest + chunk).split(/\r?\n\r?\n/);
    rest = events.pop();
    for (const event of events) {
      const lines = event.split(/\r?\n/).filter((line) => line.startsWith("data:"));
      const data = lines.map((line) => line.slice(5).trimStart()).join("\n");
      if (data) yield JSON.parse(data);
    }
  }
}

class Server {
  constructor(entry) {
    this.entry = entry;
    this.headers = { accept: "application/json, text/event-stream", "content-type": "application/json" };
    this.lastId = 0;
  }

  async post(message, signal) {
    const headers = { ...this.entry.headers, ...this.headers };
    const body = JSON.stringify({ jsonrpc: "2.0", ...message });
    const answer = await fetch(this.entry.url, { method: "POST", headers, body, signal });
    if (!answer.ok) throw new Error(`HTTP ${answer.status}: ${(await answer.text()).slice(0, 300)}`);
    const session = answer.headers.get("mcp-session-id");
    if (session) this.headers["mcp-session-id"] = session;
    return answer;
  }

  async request(method, params, signal) {
    const id = ++this.lastId;
    for await (const message of messagesOf(await this.post({ id, method, params }, signal))) {
      if (message.id !== id) continue;
      if (message.error) throw new Error(message.error.message ?? JSON.stringify(message.error));
      return message.result;
    }
    throw new Error(`no answer to ${method}`);
  }

  async tools() {
    const signal = AbortSignal.timeout(START_MS);
    const clientInfo = { name: "swarm-worker", version: "1" };
    const hello = { protocolVersion: VERSION, capabilities: {}, clientInfo };
    const { protocolVersion } = await this.request("initialize", hello, signal);
    this.headers["mcp-protocol-version"] = protocolVersion;
    await (await this.post({ method: "notifications/initialized" }, signal)).body?.cancel();
    const found = [];
    let cursor;
    do {
      const page = await this.request("tools/list", cursor ? { cursor } : {}, signal);
      found.push(...page.tools);
      cursor = page.nextCursor;
    } while (cursor);
    return found;
  }

  async call(name, args, signal) {
    const limits = [AbortSignal.timeout(CALL_MS), ...(signal ? [signal] : [])];
    const result = await this.request("tools/call", { name, arguments: args }, AbortSignal.any(limits));
    const content = (result.content ?? []).map((part) =>
      part.type === "text" || part.type === "image"
        ? part
        : { type: "text", text: part.resource?.text ?? JSON.stringify(part) },
    );
    if (result.isError) throw new Error(content.map((part) => part.text ?? part.type).join("\n"));
    return { content, details: undefined };
  }
}

export default async function (pi) {
  const { mcpServers } = JSON.parse(readFileSync(process.env.SWARM_PI_MCP, "utf8"));
  const starts = Object.entries(mcpServers).map(async ([name, entry]) => {
    const server = new Server(entry);
    try {
      return (await server.tools()).map((tool) => [name, server, tool]);
    } catch (error) {
      console.error(`MCP server ${name} cannot be reached: ${error.message}`);
      return [];
    }
  });
  for (const [name, server, tool] of (await Promise.all(starts)).flat()) {
    pi.registerTool({
      name: `mcp__${name}__${tool.name}`.replace(/[^A-Za-z0-9_-]/g, "_").slice(0, 64),
      label: tool.title ?? tool.name,
      description: tool.description || tool.name,
      parameters: { type: "object", properties: {}, ...tool.inputSchema },
      execute: (_id, args, signal) => server.call(tool.name, args, signal),
    });
  }
}
