import { HawserError } from '@hawser/protocol';
import { type Agent, connect } from '../index.js';
import { exitCodes } from './exit-code.js';
import { formatBytes, formatDuration } from './format-amount.js';
import { lineAdvice } from './line-advice.js';
import { harmless, printError, printLine, printOutput, toJson } from './report.js';

export interface DoctorFlags {
  readonly token?: string;
  readonly connectTimeout: number;
  readonly json?: true;
}

const pings = 20;

/** `hawser doctor`: resolves with the exit code. */
export async function doctor(line: string, flags: DoctorFlags): Promise<number> {
  try {
    const started = performance.now();
    await using agent = await connect(line, {
      handshakeTimeoutMs: flags.connectTimeout,
      ...(flags.token !== undefined && { token: flags.token }),
    });
    const findings = await examine(agent, performance.now() - started);
    await printOutput(flags.json ? toJson(findings) : harmless(describe(findings)));
    return 0;
  } catch (error) {
    await printError(error, flags.json);
    const advice = error instanceof HawserError && !flags.json ? lineAdvice(line, error.code) : [];
    for (const text of advice) await printLine(`  ${text}`);
    return exitCodes.hawserFailed;
  }
}

type Findings = Awaited<ReturnType<typeof examine>>;

async function examine(agent: Agent, connectMs: number) {
  const { welcome } = agent;
  const roundTripsMs: number[] = [];
  for (let n = 0; n < pings; n += 1) roundTripsMs.push(await agent.ping());
  roundTripsMs.sort((a, b) => a - b);
  const exec = await timeExec(agent);
  return {
    line: agent.line,
    connectMs,
    agent: { version: welcome.agentVersion, generation: welcome.generation, features: welcome.features },
    boot: { id: welcome.bootId, epoch: welcome.bootEpoch },
    limits: {
      frameBytesMax: welcome.frameBytesMax,
      windowBytes: welcome.windowBytes,
      sessionsMax: welcome.sessionsMax,
      checked: welcome.checked,
    },
    pingMs: {
      count: pings,
      min: roundTripsMs[0] ?? 0,
      median: roundTripsMs[pings / 2] ?? 0,
      max: roundTripsMs.at(-1) ?? 0,
    },
    exec,
    info: await agent.info(),
  };
}

/** A guest need not have `true`; that the agent says so is an answer too. */
async function timeExec(agent: Agent): Promise<{ cmd: string; ms: number } | { cmd: string; error: string }> {
  const cmd = 'true';
  const started = performance.now();
  try {
    await agent.exec(cmd);
    return { cmd, ms: performance.now() - started };
  } catch (error) {
    if (error instanceof HawserError && error.stage !== undefined) return { cmd, error: error.message };
    throw error;
  }
}

function describe({ line, connectMs, agent, boot, limits, pingMs, exec, info }: Findings): string {
  const { system } = info;
  const rows: (readonly [string, string])[] = [
    ['line', `${line}, answered after ${ms(connectMs)}${limits.checked ? ', every byte checksummed' : ''}`],
    [
      'agent',
      `version ${agent.version}, protocol generation ${agent.generation}, pid ${info.pid}, up ${formatDuration(info.uptimeMs)}`,
    ],
    ['system', `${system.hostname}, Linux ${system.release}, ${system.arch}, Node ${system.node}`],
    ['boot', `${boot.id}, epoch ${boot.epoch}`],
    ['features', agent.features.join(' ') || 'none'],
    [
      'limits',
      `frames up to ${formatBytes(limits.frameBytesMax)}, ${formatBytes(limits.windowBytes)} of credit a stream`,
    ],
    ['ping', `min ${ms(pingMs.min)}, median ${ms(pingMs.median)}, max ${ms(pingMs.max)} of ${pingMs.count}`],
    ['exec', 'ms' in exec ? `${ms(exec.ms)} for ${exec.cmd}` : `${exec.cmd}: ${exec.error}`],
    [
      'sessions',
      `${info.sessionsRunning} running of at most ${info.sessionsMax}, ${info.sessionsStarted} started, ${info.launchesPending} being launched`,
    ],
    ['buffers', `${formatBytes(info.spoolBytes)} of ${formatBytes(info.spoolBudgetBytes)}`],
    ...info.lines.map(lineRow),
  ];
  const width = Math.max(...rows.map(([name]) => name.length)) + 2;
  return rows.map(([name, text]) => `${name.padEnd(width)}${text}`).join('\n');
}

function lineRow(line: Findings['info']['lines'][number]): readonly [string, string] {
  const skipped =
    line.skips === 0
      ? 'nothing skipped'
      : `${formatBytes(line.skippedBytes)} skipped in ${line.skips} places`;
  return [
    'counters',
    `${line.name}: in ${formatBytes(line.bytesIn)} / ${line.framesIn} frames, out ${formatBytes(line.bytesOut)} / ${line.framesOut} frames, ${skipped}`,
  ];
}

function ms(value: number): string {
  return `${value.toFixed(value < 10 ? 2 : 0)} ms`;
}
