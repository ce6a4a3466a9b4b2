export const lineHelp = 'the line to the agent (default: $HAWSER_LINE)';

export const programHelp = `
Lines:
  unix:/run/hawser.sock            a Unix socket
  uart:/dev/ttyS0                  a serial device or pseudo-terminal
  vsock:3:5000                     an AF_VSOCK port of the guest with CID 3
  firecracker:/run/vm.vsock:5000   a port behind Firecracker's or Cloud Hypervisor's Unix socket
  exec:ssh host hawser-agentd …    the standard streams of a command
  local:                           an agent started here, for trying things out
  vm:NAME                          a VM that "hawser run --detach" started

  Set HAWSER_LINE to leave the line out.

Examples:
  hawser doctor unix:/run/hawser.sock
  hawser exec unix:/run/hawser.sock -- uname -a
  hawser exec -it unix:/run/hawser.sock -- bash
  tar c src | hawser exec -i -w /build unix:/run/hawser.sock -- tar x
  hawser exec --rlimit nofile=64:128 --timeout 5s local: -- sh -c 'ulimit -n'
  hawser exec -d unix:/run/hawser.sock -- make
  hawser attach --from-start unix:/run/hawser.sock SESSION
  hawser ps -a unix:/run/hawser.sock
  hawser relay uart:/dev/ttyS0
  hawser run --image ./image -- uname -a

Exit codes of "hawser exec", "hawser attach" and "hawser run":
  0 to 255   the command's own; 128+n when signal n ended it
  124        --timeout ended the command
  125        Hawser itself failed: the line, the agent, the options
  126, 127   the command cannot be executed; it, or its interpreter, does not exist
  141        the reader of the output went away
  0          also when the session was detached from, and goes on

"hawser COMMAND --help" says more.
`;

export const execHelp = `
Signals:
  SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1 and SIGUSR2 are passed on to the command's process group; a second
  SIGINT within a second kills it. With -it, keys such as Ctrl-C travel as bytes to the command's terminal, and
  a command that is still there 2 s after SIGTERM or SIGHUP came is killed.

Exit codes:
  0 to 255   the command's own; 128+n when signal n ended it
  124        --timeout ended the command
  125        Hawser itself failed: the line, the agent, the options
  126        the command cannot be executed
  127        the command, or its interpreter, does not exist
  141        the reader of the output went away, as in "| head -1"; the command is killed
  0          also with -d, and when the detach keys were typed: the command goes on
  With 124 to 127, --json tells what happened from a command that exits with that code by itself.

Examples:
  hawser exec unix:/run/hawser.sock -- uname -a
  hawser exec -it unix:/run/hawser.sock -- bash -l
  hawser exec -i unix:/run/hawser.sock -- tar x < sources.tar
  hawser exec -d --name build --survive-agent unix:/run/hawser.sock -- make
  hawser exec -u nobody -w /tmp -e LANG=C unix:/run/hawser.sock -- sh -c 'id; pwd'
`;

export const doctorHelp = `
Exits with 0 when an agent answers, else with 125 and what to look at.

Examples:
  hawser doctor unix:/run/hawser.sock
  hawser doctor --json vsock:3:5000
`;

export const relayHelp = `
Listens where this user's "hawser" looks for a relay of that line, and on every --listen. Ends with SIGINT or SIGTERM;
a relay that was killed may simply be started again: its clients go on.

Examples:
  hawser relay uart:/dev/ttyS0
  hawser relay uart:/dev/ttyS0 --listen unix:/run/guest.sock
`;

export const mcpHelp = `
Tools: exec, start_process, list_processes, process_stats, read_process_output, write_process_input,
wait_for_process, kill_process.

Ends when the client closes standard input, or with SIGINT, SIGTERM or SIGHUP: what exec started is killed then, what
start_process started goes on. Messages go to standard error. Needs the packages @modelcontextprotocol/sdk and zod.

Exits with 0, or with 125 when no agent answers.

Example, of a client's configuration:
  { "mcpServers": { "guest": { "command": "hawser", "args": ["mcp", "unix:/run/hawser.sock"] } } }
`;

export const attachHelp = `
Whoever attaches last writes; who did before is told, and goes on reading. Where the session has a terminal, the local
one is raw, as with "hawser exec -it", and the detach keys leave the session to itself, as do SIGTERM and SIGHUP. With
--no-stdin any signal does.

Exit codes:
  as "hawser exec"; 0 also when the session was detached from, 128+n when signal n ended the following

Examples:
  id=$(hawser exec -d unix:/run/hawser.sock -- make)
  hawser attach --from-start unix:/run/hawser.sock "$id"
  hawser attach --no-stdin unix:/run/hawser.sock "$id"
`;

export const runHelp = `
The command's streams, signals and exit codes are as with "hawser exec"; 125 also says that no VM could be started.

Examples:
  hawser run --image ./image -- uname -a
  hawser run --image ./image --memory 1024 --disk data.raw -it -- sh
  hawser run --image ./image --detach --name build-7
  hawser exec vm:build-7 -- make
  hawser vm stop build-7
`;

export const vmHelp = `
Examples:
  hawser vm ls
  hawser vm logs -f build-7
  hawser vm stop build-7
`;
