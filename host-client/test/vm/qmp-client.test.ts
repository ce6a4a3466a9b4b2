import { once } from 'node:events';
import type { Server, Socket } from 'node:net';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import type { QmpEvent } from '../../src/vm/hypervisors/qmp-client.js';
import { QmpClient } from '../../src/vm/hypervisors/qmp-client.js';

interface Monitor {
  readonly client: QmpClient;
  readonly events: QmpEvent[];
  /** QEMU's end. */
  readonly qemu: Socket;
  /** The next command that QEMU reads. */
  readonly command: () => Promise<Record<string, unknown>>;
}

let count = 0;

async function monitor(t: { teardown: (work: () => void) => void }, directory: string): Promise<Monitor> {
  const server: Server = createServer();
  const path = join(directory, `${(count += 1)}.sock`);
  server.listen(path);
  await once(server, 'listening');
  const socket = connect(path);
  const [qemu] = (await once(server, 'connection')) as [Socket];
  server.close();
  const events: QmpEvent[] = [];
  const client = new QmpClient(socket, (event) => events.push(event));
  t.teardown(() => {
    qemu.destroy();
    client.close();
  });
  const command = async (): Promise<Record<string, unknown>> => {
    const [chunk] = (await once(qemu, 'data')) as [Buffer];
    return JSON.parse(chunk.toString()) as Record<string, unknown>;
  };
  return { client, events, qemu, command };
}

const directory = t.testdir();
const greeting =
  '{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}}, "capabilities": ["oob"]}}\r\n';

t.test('replies find their commands, and events come between them, however the bytes are cut', async (t) => {
  const { client, events, qemu, command } = await monitor(t, directory);
  const negotiated = client.negotiate();
  qemu.write(greeting.slice(0, 20));
  qemu.write(greeting.slice(20));
  t.same(await command(), { execute: 'qmp_capabilities', id: 1 });
  qemu.write('{"return": {}, "id": 1}\r\n');
  await negotiated;

  const status = client.execute('query-status');
  t.same(await command(), { execute: 'query-status', id: 2 });
  qemu.write(
    '{"timestamp": {}, "event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-reset"}}\r\n{"return": {"run',
  );
  qemu.write('ning": false}, "id": 2}\r\n');
  t.same(await status, { running: false });
  t.same(events, [{ event: 'SHUTDOWN', data: { guest: true, reason: 'guest-reset' } }]);

  const refused = client.execute('migrate', { uri: 'unix:x' });
  t.same(await command(), { execute: 'migrate', arguments: { uri: 'unix:x' }, id: 3 });
  qemu.write('{"id": 3, "error": {"class": "GenericError", "desc": "State blocked"}}\r\n');
  await t.rejects(refused, { code: 'hypervisor_error', message: 'QEMU refused migrate: State blocked' });
});

t.test('QEMU that goes away, or speaks something else, fails what is asked and what will be', async (t) => {
  const gone = await monitor(t, directory);
  const asked = gone.client.execute('cont');
  await gone.command();
  gone.qemu.destroy();
  await t.rejects(asked, { code: 'hypervisor_error', message: /closed its monitor/ });
  await t.rejects(gone.client.execute('cont'), { code: 'hypervisor_error' });

  const strange = await monitor(t, directory);
  const negotiated = strange.client.negotiate();
  strange.qemu.write('HTTP/1.1 400 Bad Request\n');
  await t.rejects(negotiated, { code: 'hypervisor_error', message: /no JSON: HTTP/ });

  const endless = await monitor(t, directory);
  const never = endless.client.negotiate();
  endless.qemu.on('error', () => undefined);
  endless.qemu.write('x'.repeat(2 * 1024 * 1024));
  await t.rejects(never, { code: 'hypervisor_error', message: /more than 1048576 characters/ });
});
