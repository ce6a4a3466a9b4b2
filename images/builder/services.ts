/** /etc/systemd/system/hawser-agentd.service (systemd.service(5)). */
export function systemdUnit(command: readonly string[]): string {
  return `[Unit]
Description=Hawser agent: runs commands for the host of this VM
Documentation=file:/opt/hawser
# Before the network: the host may be what sets it up.
DefaultDependencies=no
After=systemd-udevd.service local-fs.target
Conflicts=shutdown.target
Before=shutdown.target

[Service]
Type=exec
ExecStart=${command.join(' ')}
# The agent ends its sessions itself, and systemd what is left.
KillMode=mixed
TimeoutStopSec=15
Restart=always
RestartSec=1
# Sessions get control groups below the agent's.
Delegate=yes
OOMScoreAdjust=-900

[Install]
WantedBy=multi-user.target
`;
}

/** /etc/init.d/hawser-agentd (openrc-run(8)). */
export function openRcScript(command: readonly string[]): string {
  const [program, ...words] = command;
  return `#!/sbin/openrc-run
description="Hawser agent: runs commands for the host of this VM"
supervisor=supervise-daemon
command="${program}"
command_args="${words.join(' ')}"
output_logger="logger -t hawser-agentd"
error_logger="logger -t hawser-agentd"
respawn_delay=1
respawn_max=0
retry="TERM/15/KILL/5"

depend() {
	need localmount
	after modules udev
}
`;
}
