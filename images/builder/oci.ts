import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** OCI image specification 1.1: descriptor.md, manifest.md, config.md. */
interface Descriptor {
  mediaType: string;
  digest: string;
  size: number;
  [field: string]: unknown;
}

interface Manifest {
  config: Descriptor;
  layers: Descriptor[];
  [field: string]: unknown;
}

interface ImageConfig {
  rootfs: { type: 'layers'; diff_ids: string[] };
  history?: object[];
  [field: string]: unknown;
}

const layerType = 'application/vnd.oci.image.layer.v1.tar';
const manifestType = 'application/vnd.oci.image.manifest.v1+json';

/**
 * Adds a layer to every image of an OCI image layout. Blobs that were there stay, so whoever names
 * the old manifest by its digest still finds it.
 *
 * @param layout folder with `oci-layout`, `index.json` and `blobs/`
 * @param layer an uncompressed tar archive
 * @throws Error for a layout of another version, or an image index within the index
 */
export function addOciLayer(layout: string, layer: Buffer, createdBy: string): void {
  const { imageLayoutVersion } = JSON.parse(readFileSync(join(layout, 'oci-layout'), 'utf8')) as Record<
    string,
    string
  >;
  if (imageLayoutVersion !== '1.0.0')
    throw new Error(`${layout}: OCI image layout ${imageLayoutVersion} is not known`);
  const indexPath = join(layout, 'index.json');
  const index = JSON.parse(readFileSync(indexPath, 'utf8')) as { manifests: Descriptor[] };
  const added = putBlob(layout, layer, layerType);
  index.manifests = index.manifests.map((descriptor) => {
    if (descriptor.mediaType !== manifestType)
      throw new Error(`${indexPath}: ${descriptor.mediaType}: only image manifests are supported`);
    const manifest = readBlob(layout, descriptor) as Manifest;
    const config = readBlob(layout, manifest.config) as ImageConfig;
    config.rootfs.diff_ids.push(added.digest);
    config.history = [...(config.history ?? []), { created_by: createdBy, created: '1970-01-01T00:00:01Z' }];
    manifest.config = { ...manifest.config, ...putBlob(layout, json(config), manifest.config.mediaType) };
    manifest.layers.push(added);
    return { ...descriptor, ...putBlob(layout, json(manifest), manifestType) };
  });
  writeFileSync(indexPath, json(index));
}

function readBlob(layout: string, { digest }: Descriptor): unknown {
  return JSON.parse(readFileSync(blobPath(layout, digest), 'utf8'));
}

function putBlob(layout: string, bytes: Buffer, mediaType: string): Descriptor {
  const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
  const path = blobPath(layout, digest);
  mkdirSync(join(path, '..'), { recursive: true });
  writeFileSync(path, bytes);
  return { mediaType, digest, size: bytes.length };
}

function blobPath(layout: string, digest: string): string {
  const [algorithm = '', hex = ''] = digest.split(':');
  if (!/^[a-z0-9]+$/.test(algorithm) || !/^[a-f0-9]+$/.test(hex)) throw new Error(`${digest} is no digest`);
  return join(layout, 'blobs', algorithm, hex);
}

function json(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value));
}
