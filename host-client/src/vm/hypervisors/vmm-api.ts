import { request } from 'node:http';
import { HawserError } from '@hawser/protocol';

/** One call of an HTTP API over a Unix socket, as Firecracker and Cloud Hypervisor have it. */
export interface ApiCall {
  readonly method: 'GET' | 'PUT' | 'PATCH';
  readonly path: string;
  readonly body?: object;
}

/** An answer is a status and at most a short text. */
const answerBytesMax = 64 * 1024;
const timeoutMs = 60_000;

/**
 * @returns the answer's text
 * @throws HawserError `hypervisor_error` for any status but 2xx; the system's error where nobody listens
 */
export function callApi(socketPath: string, call: ApiCall): Promise<string> {
  const body = call.body === undefined ? undefined : JSON.stringify(call.body);
  return new Promise((resolve, reject) => {
    const outgoing = request(
      {
        socketPath,
        method: call.method,
        path: call.path,
        headers: {
          Accept: 'application/json',
          ...(body !== undefined && {
            'Content-Type': 'application/json',
            'Content-Length': Buffer.byteLength(body),
          }),
        },
        timeout: timeoutMs,
      },
      (response) => {
        let text = '';
        response.setEncoding('utf8').on('data', (chunk: string) => {
          text = (text + chunk).slice(0, answerBytesMax);
        });
        response.on('error', reject);
        response.on('end', () => {
          const status = response.statusCode ?? 0;
          if (status >= 200 && status < 300) resolve(text);
          else
            reject(
              new HawserError(
                'hypervisor_error',
                `${call.method} ${call.path} was answered with ${status}: ${text.trim()}`,
              ),
            );
        });
      },
    );
    outgoing.on('timeout', () =>
      outgoing.destroy(
        new HawserError(
          'hypervisor_error',
          `${call.method} ${call.path} was not answered within ${timeoutMs} ms`,
        ),
      ),
    );
    outgoing.on('error', reject);
    outgoing.end(body);
  });
}
