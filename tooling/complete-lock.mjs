// Completes package-lock.json after a dependency changed: `node tooling/complete-lock.mjs`.
//
// Tools with native parts name one optional package for each platform. Where the registry in use (a mirror) lacks
// those of other platforms, `npm install` leaves them out of the lock without a word, and `npm ci` then refuses the
// lock as out of date. An entry with the exact version and platform is enough: npm skips what is not for its own.
import { readFileSync, writeFileSync } from 'node:fs';

const file = new URL('../package-lock.json', import.meta.url);
const lock = JSON.parse(readFileSync(file, 'utf8'));

/** `@oxlint/binding-linux-arm-musleabihf` is for linux, arm and musl. */
function platformOf(name) {
  const match =
    /(android|darwin|freebsd|linux|openharmony|win32)-(arm64|arm|ia32|ppc64|riscv64|s390x|x64)(?:-(\w+))?$/.exec(
      name,
    );
  if (match === null) throw new Error(`cannot tell the platform of ${name}`);
  const [, os, cpu, abi = ''] = match;
  const libc = abi.startsWith('musl') ? ['musl'] : abi.startsWith('gnu') ? ['glibc'] : undefined;
  return { cpu: [cpu], ...(libc && { libc }), os: [os] };
}

for (const [at, entry] of Object.entries(lock.packages)) {
  for (const [name, version] of Object.entries(entry.optionalDependencies ?? {})) {
    if (`${at}/node_modules/${name}` in lock.packages || `node_modules/${name}` in lock.packages) continue;
    if (!/^\d+\.\d+\.\d+$/.test(version))
      throw new Error(`${at} wants ${name} ${version}, which is not exact`);
    const dev = entry.dev ? { dev: true } : {};
    lock.packages[`node_modules/${name}`] = { version, ...dev, optional: true, ...platformOf(name) };
    console.log(`added ${name} ${version}`);
  }
}
lock.packages = Object.fromEntries(
  Object.entries(lock.packages).toSorted(([a], [b]) => a.localeCompare(b, 'en')),
);
writeFileSync(file, `${JSON.stringify(lock, null, 2)}\n`);
