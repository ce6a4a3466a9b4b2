import type { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import type { CallToolResult, ToolAnnotations } from '@modelcontextprotocol/sdk/types.js';
import type * as z from 'zod';
import type { Agent } from '../agent.js';
import { errorText } from './error-text.js';
import type { Guest } from './guest.js';

/** What a tool's run has beside its input. */
export interface Call {
  readonly agent: Agent;
  /** The client has cancelled the call, or is gone. */
  readonly signal: AbortSignal;
}

/** One tool: what a model reads of it, and what it does. */
export interface Tool<Input extends z.ZodObject, Output extends z.ZodObject> {
  readonly name: string;
  readonly title: string;
  readonly description: string;
  readonly annotations: ToolAnnotations;
  /** Strict: a misspelt argument is told, not ignored. */
  readonly input: Input;
  readonly output: Output;
  run(input: z.output<Input>, call: Call): Promise<z.output<Output>>;
}

export function registerTool<Input extends z.ZodObject, Output extends z.ZodObject>(
  server: McpServer,
  guest: Guest,
  tool: Tool<Input, Output>,
): void {
  const { name, title, description, annotations, input, output } = tool;
  // The SDK checks the arguments against `inputSchema` before, and the answer against `outputSchema` afterwards.
  const config: { inputSchema: z.ZodObject; outputSchema: z.ZodObject } = {
    inputSchema: input,
    outputSchema: output,
  };
  server.registerTool(
    name,
    { title, description, annotations: { title, ...annotations }, ...config },
    (given, { signal }) =>
      answer(async () => tool.run(given as z.output<Input>, { agent: await guest.reached(signal), signal })),
  );
}

/** The same twice, as the protocol wants it: for clients that read structures, and for those that read text. */
async function answer(work: () => Promise<Record<string, unknown>>): Promise<CallToolResult> {
  try {
    const structuredContent = await work();
    return { content: [{ type: 'text', text: JSON.stringify(structuredContent) }], structuredContent };
  } catch (error) {
    return { content: [{ type: 'text', text: errorText(error) }], isError: true };
  }
}
