const sessionNote = `
A SESSION is an id, an unambiguous beginning of one, its number (as "hawser ps" shows it), or its name
(hawser exec --name NAME). An operand that begins as a line does (unix: and so on) is the line.
`;

export const psHelp = `
A session runs while any process of it lives, also after its leader's end. CPU is processor time, MEM what its processes
use together (K, M, G: powers of 1024), AGE by the guest's clock. In a terminal the table is made to fit; elsewhere
nothing is cut. With several states any will do, with several labels all must be there; a state is looked for among
sessions that have ended, too.

Examples:
  hawser ps unix:/run/hawser.sock
  hawser ps -a --filter state=exited --filter label=team=a
  hawser ps --tree
  hawser ps -a --json | jq -r '.[] | select(.exit.code != 0) | .id'
  hawser rm $(hawser ps -q --filter state=exited)
`;

export const topHelp = `
CPU is in percent of one processor, between two samples; PEAK is the most memory that a session has used, where the guest
counts it. Without a terminal, tables are printed, the first after one interval.

Keys:
  c, m, p, n   sort by CPU, memory, number of processes, name
  q, Ctrl-C    quit
  Ctrl-Z       stop until "fg"

Examples:
  hawser top unix:/run/hawser.sock
  hawser top --sort memory --interval 500ms
  hawser top --once
`;

export const logsHelp = `${sessionNote}
The command does not wait for this reader, and neither does the session's end. What is not kept any more is named on
standard error. Positions count the bytes of an output from its first on; they are in "hawser inspect".

Exit codes:
  0     everything was printed; with -f also: the session's outputs have ended
  125   Hawser failed
  130   Ctrl-C ended it
  141   the reader of the output went away

Examples:
  hawser logs build
  hawser logs -f --tail 4K unix:/run/hawser.sock build
  hawser logs --since-byte 1048576:0 build
  hawser logs --stderr build
`;

export const waitHelp = `${sessionNote}
Prints a line for each session in the order in which they were named: its exit code, or as in SIGTERM what killed it, or
"unknown" where somebody else in the guest has waited for it. At once for one that has ended, and as often as one likes.

Exit codes:
  0     each has ended, in whatever way
  124   --timeout came first
  125   Hawser failed, or there is no such session

Examples:
  id=$(hawser exec -d -- make) && hawser wait "$id"
  hawser wait --timeout 5m unix:/run/hawser.sock build test
`;

export const killHelp = `${sessionNote}
Each session is tried; the exit code is 125 where any failed, as one that has ended does.

Examples:
  hawser kill build
  hawser kill --tree build
  hawser kill -s TERM unix:/run/hawser.sock 7 8
`;

export const rmHelp = `${sessionNote}
One that runs is refused (session_running) unless -f is given. The exit code is 125 where any failed.

Examples:
  hawser rm build
  hawser rm -f unix:/run/hawser.sock build
  hawser rm $(hawser ps -q --filter state=exited)
`;

export const inspectHelp = `${sessionNote}
Times are in UTC, by the guest's clock; words that are not UTF-8 are {"base64": "..."}. What was found is printed also
where something else was not; the exit code is 125 then.

Examples:
  hawser inspect build
  hawser inspect unix:/run/hawser.sock build | jq '.[0].exit'
`;
