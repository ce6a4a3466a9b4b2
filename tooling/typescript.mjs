// Lets Node run TypeScript sources: `node --import ./tooling/typescript.mjs --conditions=@hawser/source file.ts`.
//
// The tests run this way. tap's own loader does the same with the TypeScript compiler, whose start alone costs
// each test file half a second; this one calls esbuild once per changed file and keeps what it made. It leaves
// no process behind (esbuild's asynchronous calls would), so that tests can count children and descriptors.
import { register } from 'node:module';

register('./typescript-hooks.mjs', import.meta.url);
