import { type BigIntStats, readFileSync, statSync } from 'node:fs';
import { HawserError } from '@hawser/protocol';
import type { Credentials } from './launch-request.js';

/** Who a command is to run as. */
export interface User extends Credentials {
  /** `undefined` for a uid without an entry. */
  readonly name: string | undefined;
  /** `/` for a uid without an entry. */
  readonly home: string;
  /** `/bin/sh` where the entry names none, as login(1) has it. */
  readonly shell: string;
}

interface PasswdEntry {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  readonly home: string;
  readonly shell: string;
}

interface GroupEntry {
  readonly name: string;
  readonly gid: number;
  readonly members: readonly string[];
}

/** (uid_t)-1 and (gid_t)-1 mean "leave as it is" to the kernel, so they are nobody. */
const idMax = 0xfffffffe;

/**
 * Users and groups of the guest, from its files. No libc: getpwnam in a statically linked or
 * differently-libc'd agent asks the wrong system, and NSS may block on a network.
 */
export class Users {
  readonly #passwd: CachedFile<PasswdEntry>;
  readonly #group: CachedFile<GroupEntry>;

  constructor(passwdPath = '/etc/passwd', groupPath = '/etc/group') {
    this.#passwd = new CachedFile(passwdPath, passwdEntry);
    this.#group = new CachedFile(groupPath, groupEntry);
  }

  /**
   * Looks up `name`, `uid`, `name:group`, `uid:gid` and their mixtures. With a group given, that
   * is the primary group; the supplementary groups are the named user's either way. A number
   * without an entry is fine; a number that is somebody's name is that name.
   *
   * @throws HawserError `unknown_user`, `unknown_group`
   */
  lookup(specification: string): User {
    const colon = specification.indexOf(':');
    const userPart = colon < 0 ? specification : specification.slice(0, colon);
    const groupPart = colon < 0 ? undefined : specification.slice(colon + 1);
    const entry = this.#findUser(userPart);
    const uid = entry?.uid ?? numericId(userPart);
    if (uid === undefined) throw new HawserError('unknown_user', `unknown user ${JSON.stringify(userPart)}`);
    const gid = groupPart === undefined ? (entry?.gid ?? uid) : this.#groupId(groupPart);
    return {
      uid,
      gid,
      groups: this.#groupsOf(entry?.name, gid),
      name: entry?.name,
      home: entry === undefined || entry.home === '' ? '/' : entry.home,
      shell: entry === undefined || entry.shell === '' ? '/bin/sh' : entry.shell,
    };
  }

  /** The name of a uid, for showing. */
  nameOf(uid: number): string | undefined {
    return this.#passwd.entries().find((entry) => entry.uid === uid)?.name;
  }

  /** The name of a gid, for showing. */
  groupNameOf(gid: number): string | undefined {
    return this.#group.entries().find((entry) => entry.gid === gid)?.name;
  }

  #findUser(part: string): PasswdEntry | undefined {
    const entries = this.#passwd.entries();
    const byName = entries.find((entry) => entry.name === part);
    if (byName !== undefined) return byName;
    const uid = numericId(part);
    return uid === undefined ? undefined : entries.find((entry) => entry.uid === uid);
  }

  #groupId(part: string): number {
    const gid = this.#group.entries().find((entry) => entry.name === part)?.gid ?? numericId(part);
    if (gid === undefined) throw new HawserError('unknown_group', `unknown group ${JSON.stringify(part)}`);
    return gid;
  }

  /** As initgroups(3): the primary group, and every group that lists the user. */
  #groupsOf(name: string | undefined, gid: number): number[] {
    const groups = new Set([gid]);
    if (name === undefined) return [...groups];
    for (const entry of this.#group.entries()) {
      if (entry.members.includes(name)) groups.add(entry.gid);
    }
    return [...groups];
  }
}

/** A file of lines, parsed again when it was replaced or changed. A missing one is empty. */
class CachedFile<Entry> {
  readonly #path: string;
  readonly #parse: (fields: readonly string[]) => Entry | undefined;
  #entries: readonly Entry[] = [];
  #version = '';

  constructor(path: string, parse: (fields: readonly string[]) => Entry | undefined) {
    this.#path = path;
    this.#parse = parse;
  }

  entries(): readonly Entry[] {
    const found = statSync(this.#path, { bigint: true, throwIfNoEntry: false });
    const version = found === undefined ? 'missing' : versionOf(found);
    if (version === this.#version) return this.#entries;
    this.#entries = found === undefined ? [] : this.#read();
    this.#version = version;
    return this.#entries;
  }

  #read(): Entry[] {
    const entries: Entry[] = [];
    for (const line of readFileSync(this.#path, 'utf8').split('\n')) {
      const entry = line.startsWith('#') ? undefined : this.#parse(line.split(':'));
      if (entry !== undefined) entries.push(entry);
    }
    return entries;
  }
}

function versionOf(found: BigIntStats): string {
  return `${found.dev}:${found.ino}:${found.size}:${found.mtimeNs}:${found.ctimeNs}`;
}

/** passwd(5): name:password:uid:gid:gecos:home:shell. A line that is none is passed over. */
function passwdEntry(fields: readonly string[]): PasswdEntry | undefined {
  const [name = '', , uidText = '', gidText = '', , home = '', shell = ''] = fields;
  const uid = numericId(uidText);
  const gid = numericId(gidText);
  if (name === '' || uid === undefined || gid === undefined) return undefined;
  return { name, uid, gid, home, shell };
}

/** group(5): name:password:gid:member,member. */
function groupEntry(fields: readonly string[]): GroupEntry | undefined {
  const [name = '', , gidText = '', members = ''] = fields;
  const gid = numericId(gidText);
  if (name === '' || gid === undefined) return undefined;
  return { name, gid, members: members.split(',').filter((member) => member !== '') };
}

function numericId(text: string): number | undefined {
  if (!/^\d{1,10}$/.test(text)) return undefined;
  const id = Number(text);
  return id <= idMax ? id : undefined;
}
