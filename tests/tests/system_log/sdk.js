// Reads and changes what the API offers with Okta's own SDK for Node; prints what came of it as JSON.
//
// Usage: node sdk.js FOLDER URL TOKEN; FOLDER has the SDK in node_modules.
'use strict';

const { createRequire } = require('module');

const [folder, orgUrl, token] = process.argv.slice(2);
const okta = createRequire(`${folder}/`)('@okta/okta-sdk-nodejs');

async function all(collection) {
  const found = [];
  await (await collection).each((one) => { found.push(one); });
  return found;
}

async function refused(promise) {
  try {
    await promise;
    return 'it was taken';
  } catch (error) {
    return `${error.status} ${error.errorCode} ${error.errorSummary}`;
  }
}

async function main() {
  const client = new okta.Client({ orgUrl, token, cacheMiddleware: null });
  const report = {};

  const before = await client.threatInsightApi.getCurrentConfiguration();
  report.action = before.action;
  const made = await client.networkZoneApi.createNetworkZone({
    zone: { type: 'IP', name: 'node', gateways: [{ type: 'RANGE', value: '203.0.113.16-203.0.113.20' }] },
  });
  report.zone = [made.name, made.status, made.system];
  const changed = await client.threatInsightApi.updateConfiguration({
    threatInsightConfiguration: { action: 'block', excludeZones: [...before.excludeZones, made.id] },
  });
  report.changed = [changed.action, changed.excludeZones.includes(made.id)];
  const listed = await all(client.networkZoneApi.listNetworkZones({ limit: 1 }));
  report.zones = listed.map((one) => [one.name, one.system]);
  await client.threatInsightApi.updateConfiguration({
    threatInsightConfiguration: { action: before.action, excludeZones: before.excludeZones },
  });
  await client.networkZoneApi.replaceNetworkZone({
    zoneId: made.id,
    zone: { type: 'IP', name: 'node', usage: 'BLOCKLIST', gateways: [{ type: 'CIDR', value: '203.0.113.16/28' }] },
  });
  const seen = await client.networkZoneApi.getNetworkZone({ zoneId: made.id });
  report.replaced = [seen.usage, seen.gateways.map((one) => one.value)];
  await client.networkZoneApi.deleteNetworkZone({ zoneId: made.id });
  report.gone = await refused(client.networkZoneApi.getNetworkZone({ zoneId: made.id }));

  // An event is there once it is on disk, which is a moment after its change was answered.
  const deleted = { filter: 'eventType eq "zone.delete"', sortOrder: 'DESCENDING' };
  while ((await all(client.systemLogApi.listLogEvents(deleted))).length === 0) {
    await new Promise((resolve) => { setTimeout(resolve, 100); });
  }
  const bounded = await all(client.systemLogApi.listLogEvents({
    since: '2020-01-01T00:00:00.000Z',
    until: '2100-01-01T00:00:00.000Z',
    filter: 'eventType sw "zone." and target.id eq "node"',
    sortOrder: 'ASCENDING',
    limit: 2,
  }));
  report.bounded = bounded.map((event) => event.eventType);
  report.actors = [...new Set(bounded.map((event) => event.actor.id))];
  report.bad_filter = await refused(all(client.systemLogApi.listLogEvents({ filter: 'eventType eqq "x"' })));
  const stranger = new okta.Client({ orgUrl, token: 'wrong', cacheMiddleware: null });
  report.stranger = await refused(all(stranger.systemLogApi.listLogEvents({})));
  console.log(JSON.stringify(report));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
