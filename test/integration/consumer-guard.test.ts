import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';
import { headers, type MsgHdrs } from 'nats';
import { LivenessBucket } from '../../shared/nats/liveness-bucket.ts';
import { TableStream } from '../../shared/nats/table-stream.ts';
import { closeTestLinks, makeLiveness, openTestLink, recordLog, until } from '../support/nats-link.ts';
import { startNats, type TestNats } from '../support/nats-process.ts';
import { freshPrefix } from '../support/nats-server.ts';

const LEASE_TTL_MS = 60_000;

describe('a message to a coordinator’s watch that JetStream did not send', { timeout: 60_000 }, () => {
  let nats: TestNats;
  before(async () => {
    nats = await startNats();
  });
  afterEach(closeTestLinks);
  after(async () => nats?.stop());

  for (const [what, message] of [
    ['asks for flow control at another subject', { text: 'NATS/1.0 100 FlowControl Request', reply: true }],
    ['names another subject in a heartbeat', { text: 'NATS/1.0 100 Idle Heartbeat', reply: false }],
    ['has no sequence', { text: '', reply: false }],
  ] as const) {
    test(`is dropped where it ${what}, and the watch goes on`, async () => {
      const prefix = freshPrefix();
      const said = recordLog();
      const coordinator = await openTestLink({ url: nats.url, prefix, name: 'c1', log: said.log });
      const rogue = await openTestLink({ url: nats.url, name: 'rogue' });
      const sizes = await TableStream.open(coordinator);
      await sizes.publish({ rows: 1, added: 1, removed: 0, at: new Date().toISOString() });
      const liveness = await LivenessBucket.open(coordinator, { ttlMs: LEASE_TTL_MS });
      const stored: string[] = [];
      await liveness.watch((change) => {
        if (change.kind === 'stored') stored.push(change.value.id);
      });
      const target = `$JS.API.STREAM.DELETE.${coordinator.names.tableStream}`;
      const sent: { reply?: string; headers?: MsgHdrs } = {};
      if (message.text !== '') {
        const [, code, ...words] = message.text.split(' ');
        sent.headers = headers(Number(code), words.join(' '));
        if (!message.reply) sent.headers.set('Nats-Consumer-Stalled', target);
      }
      if (message.reply) sent.reply = target;
      // Without permissions, so that the inbox is found: the guard of the client alone must do. On a busy machine the watch may
      // open again, with another inbox.
      const manager = await rogue.connection.jetstreamManager();
      await until('the refusal', async () => {
        const consumers = await manager.consumers.list(`KV_${coordinator.names.livenessBucket}`).next();
        for (const { config } of consumers) rogue.connection.publish(config.deliver_subject ?? '', '', sent);
        await rogue.connection.flush();
        return said.lines.some(({ msg }) => /^message to a consumer refused/.test(msg));
      });
      await liveness.renew(makeLiveness('w7'));
      await until('the watch going on', () => stored.includes('w7'));
      assert.equal((await sizes.newest())?.rows, 1);
    });
  }
});
