import { PassThrough } from 'node:stream';
import { HawserError } from '@hawser/protocol';
import { connect } from '../index.js';
import type { serve } from '../mcp/server.js';
import { noteConnection } from './connection-notes.js';
import { exitCodes } from './exit-code.js';
import { harmless, printError, printLine } from './report.js';

/** What the options of `hawser mcp` hold, under commander's names. */
export interface McpFlags {
  readonly token?: string;
  readonly connectTimeout: number;
}

/** `hawser mcp`: serves a client on the standard streams until it closes them, or a signal comes. Resolves with the exit code. */
export async function mcp(line: string, flags: McpFlags): Promise<number> {
  const stop = new AbortController();
  const stopped = new Promise<void>((resolve) => stop.signal.addEventListener('abort', () => resolve()));
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => stop.abort());
  // Read from the beginning: a client may be gone before there is a connection.
  const input = process.stdin.pipe(new PassThrough());
  process.stdin.once('close', () => stop.abort());
  process.stdin.once('end', () => stop.abort());
  process.stdout.once('error', () => stop.abort());
  try {
    const serveTools = await loadServer();
    await using agent = await connect(line, {
      handshakeTimeoutMs: flags.connectTimeout,
      signal: stop.signal,
      ...(flags.token !== undefined && { token: flags.token }),
    });
    noteConnection(agent, () => false);
    const report = (text: string): void => void printLine(`hawser: ${harmless(text)}`);
    await serveTools(agent, { input, output: process.stdout, stopped, report });
    return 0;
  } catch (error) {
    if (error instanceof HawserError && error.code === 'aborted') return 0; // nobody wants it any more
    await printError(error, undefined);
    return exitCodes.hawserFailed;
  } finally {
    process.stdin.destroy();
  }
}

/** @throws HawserError `missing_dependency`: they are optional. */
async function loadServer(): Promise<typeof serve> {
  try {
    return (await import('../mcp/server.js')).serve;
  } catch (cause) {
    if (!isMissing(cause)) throw cause;
    throw new HawserError(
      'missing_dependency',
      'hawser mcp needs the packages @modelcontextprotocol/sdk and zod: npm install @modelcontextprotocol/sdk zod',
      { cause },
    );
  }
}

/** Node names the package that it does not find, and a file of ours by its path. */
function isMissing(error: unknown): boolean {
  return (
    error instanceof Error &&
    'code' in error &&
    error.code === 'ERR_MODULE_NOT_FOUND' &&
    /package '(@modelcontextprotocol\/sdk|zod)'/.test(error.message)
  );
}
