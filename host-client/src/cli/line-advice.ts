import type { ErrorCode } from '@hawser/protocol';

/** What to look at when nothing answers, by what went wrong and by kind of line. */
export function lineAdvice(line: string, code: ErrorCode): readonly string[] {
  const kind = line.slice(0, line.indexOf(':') + 1);
  switch (code) {
    case 'line_open_failed':
    case 'unknown_vm':
      return openAdvice[kind] ?? [];
    case 'handshake_timeout':
    case 'line_closed':
    case 'connection_closed':
      return [
        'The line is open, and no agent answers on it.',
        ...(silentAdvice[kind] ?? []),
        "Is the agent running in the guest, and on this line? Its log is on its standard error; '--listen' names its lines.",
      ];
    case 'rejected':
      return [
        'An agent answers and refuses: does it want a token? Give it in HAWSER_TOKEN, or with --token.',
      ];
    case 'invalid_argument':
      return ['"hawser --help" lists the kinds of lines.'];
    default:
      return [];
  }
}

const openAdvice: Readonly<Record<string, readonly string[]>> = {
  'unix:': [
    'Is the agent running, and is this the path it listens on? The socket is open to its own user only.',
  ],
  'uart:': [
    'Does the device exist, and may this user open it (group dialout)? Is another program holding it?',
  ],
  'vsock:': ['Is vhost_vsock loaded, is the CID that of the guest, and does the agent listen on that port?'],
  'firecracker:': [
    "The path is the uds_path of the VM's vsock device, on the host; the port is the one the agent listens on.",
  ],
  'exec:': ['Does the command run by itself? What it prints on standard error appears here.'],
  'local:': ['Is @hawser/agentd installed and built beside this package?'],
  'vm:': ['"hawser vm ls" lists the VMs that run.'],
};

const silentAdvice: Readonly<Record<string, readonly string[]>> = {
  'uart:': ['A console or a getty on the same port takes the bytes: give the agent a port of its own.'],
  'firecracker:': ['"OK" was answered only if somebody listens on that port in the guest.'],
  'exec:': ['A command that prints a banner is fine, one that asks for a password is not.'],
};
