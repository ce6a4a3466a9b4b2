import { fileURLToPath } from 'node:url';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { type CallToolResult, CallToolResultSchema } from '@modelcontextprotocol/sdk/types.js';

/** The program as it is shipped: `npm run build` makes it, and `npm test` begins with that. */
export const hawser = fileURLToPath(new URL('../../host-client/bin/hawser.js', import.meta.url));

/** What the server offers, in its order. */
export const toolNames = [
  'exec',
  'start_process',
  'list_processes',
  'process_stats',
  'read_process_output',
  'write_process_input',
  'wait_for_process',
  'kill_process',
];

type Arguments = Readonly<Record<string, unknown>>;
export type Answer = Readonly<Record<string, unknown>>;

/** A model's client, and the server that it has started. It checks every answer against the tool's output schema. */
export class Model implements AsyncDisposable {
  readonly client: Client;
  readonly #transport: StdioClientTransport;
  /** What came that was none of the protocol's. */
  readonly #noise: Error[] = [];
  stderr = '';

  private constructor(client: Client, transport: StdioClientTransport) {
    this.client = client;
    this.#transport = transport;
  }

  static async start(line: string): Promise<Model> {
    const transport = new StdioClientTransport({
      command: process.execPath,
      args: [hawser, 'mcp', line],
      stderr: 'pipe',
    });
    const client = new Client({ name: 'test', version: '1' });
    const model = new Model(client, transport);
    transport.stderr?.on('data', (text: Buffer) => (model.stderr += String(text)));
    // oxlint-disable-next-line unicorn/prefer-add-event-listener -- it is the SDK's one way to be told
    client.onerror = (error) => model.#noise.push(error);
    await client.connect(transport);
    await client.listTools(); // with the schemas of the answers
    return model;
  }

  get pid(): number {
    return this.#transport.pid as number;
  }

  /** @returns the structured answer. Fails where the tool has failed, or says it otherwise in its text. */
  async call(name: string, given: Arguments = {}, signal?: AbortSignal): Promise<Answer> {
    const { isError, text, structuredContent } = await this.#call(name, given, signal);
    if (isError) throw new Error(`${name}: ${text}`);
    if (text !== JSON.stringify(structuredContent)) throw new Error(`${name} says two things: ${text}`);
    return structuredContent as Answer;
  }

  /** @returns the text of an error. */
  async refused(name: string, given: Arguments = {}): Promise<string> {
    const { isError, text } = await this.#call(name, given);
    if (!isError) throw new Error(`${name} did not fail: ${text}`);
    return text;
  }

  /** Starts a process. @returns its id. */
  async start(given: Arguments): Promise<string> {
    return (await this.call('start_process', given))['processId'] as string;
  }

  /** Reads on until the output so far matches. @returns all of it, from the beginning. */
  async readUntil(processId: string, pattern: RegExp): Promise<string> {
    let text = '';
    let cursor = 0;
    while (!pattern.test(text)) {
      const part = await this.call('read_process_output', { processId, cursor, waitMs: 20_000 });
      text += part['text'] as string;
      if (part['ended'] === true && !pattern.test(text))
        throw new Error(`${processId} ended before ${pattern}: ${text}`);
      cursor = part['nextCursor'] as number;
    }
    return text;
  }

  /** Lists until there are no more than so many: the last that ended may be known for a moment still. */
  async list(given: Arguments, count: number): Promise<Answer[]> {
    const deadline = Date.now() + 20_000;
    for (;;) {
      const processes = (await this.call('list_processes', given))['processes'] as Answer[];
      if (processes.length <= count || Date.now() > deadline) return processes;
    }
  }

  async #call(
    name: string,
    given: Arguments,
    signal?: AbortSignal,
  ): Promise<{ isError: boolean; text: string; structuredContent: CallToolResult['structuredContent'] }> {
    const result = (await this.client.callTool({ name, arguments: given }, CallToolResultSchema, {
      ...(signal !== undefined && { signal }),
    })) as CallToolResult;
    if (this.#noise.length > 0) throw this.#noise[0] as Error;
    const [content] = result.content;
    const text = content?.type === 'text' ? content.text : '';
    return { isError: result.isError === true, text, structuredContent: result.structuredContent };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.client.close();
  }
}
