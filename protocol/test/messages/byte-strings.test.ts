import { MessageCodec } from '@hawser/protocol';
import t from 'tap';

t.test('a byte string is decoded whatever its bytes are', (t) => {
  const codec = new MessageCodec();
  for (let byte = 0; byte < 256; byte++) {
    const wrong = [16, 300, 70_000].filter((length) => {
      const cmd = new Uint8Array(length).fill(byte);
      return (
        Buffer.compare(
          codec.decode('ExecRequest', codec.encode('ExecRequest', { cmd })).cmd as Uint8Array,
          cmd,
        ) !== 0
      );
    });
    t.strictSame(wrong, [], `of 0x${byte.toString(16)}`);
  }
  t.end();
});
