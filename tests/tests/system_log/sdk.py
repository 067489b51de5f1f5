"""Reads and changes what the API offers with Okta's own SDK for Python; prints what came of it as JSON.

Usage: sdk.py URL TOKEN
"""

import asyncio
import json
import sys

from okta import models
from okta.client import Client
from okta.pagination import PaginationHelper


def good(answer):
    value, response, error = answer[0], answer[-2], answer[-1]
    if error is not None:
        raise SystemExit(f"refused: {error}")
    return value, response


def word(value):
    """The word of an enumeration, whichever way a field has it."""
    return getattr(value, "value", value)


async def pages(client, most, **asked):
    """Follows the cursors; polling has no end, so an empty page is one."""
    found = []
    for _ in range(most):
        events, response = good(await client.list_log_events(**asked))
        found.append([event.event_type for event in events])
        after = PaginationHelper.extract_next_cursor(response.headers)
        if after is None:
            return found, True
        if not events:
            break
        asked.pop("since", None)
        asked["after"] = after
    return found, False


async def main(url, token):
    client = Client({"orgUrl": url, "token": token, "requestTimeout": 60})
    report = {}

    before, _ = good(await client.get_current_configuration())
    report["action"] = before.action
    zone = models.IPNetworkZone(
        type="IP",
        name="python",
        gateways=[models.NetworkZoneAddress(type="CIDR", value="203.0.113.0/28")],
    )
    made, _ = good(await client.create_network_zone(zone))
    made = getattr(made, "actual_instance", None) or made
    report["zone"] = [made.name, word(made.status), made.system]
    wanted = models.ThreatInsightConfiguration(action="block", exclude_zones=before.exclude_zones + [made.id])
    changed, _ = good(await client.update_configuration(wanted))
    report["changed"] = [changed.action, made.id in changed.exclude_zones]
    listed, _ = good(await client.list_network_zones())
    report["zones"] = [[one.name, one.system] for one in listed]
    good(await client.deactivate_network_zone(made.id))
    seen, _ = good(await client.get_network_zone(made.id))
    report["deactivated"] = word(seen.status)
    good(await client.activate_network_zone(made.id))
    back = models.ThreatInsightConfiguration(action=before.action, exclude_zones=before.exclude_zones)
    good(await client.update_configuration(back))
    good(await client.delete_network_zone(made.id))
    configured = next(one for one in listed if one.system)
    error = (await client.delete_network_zone(configured.id))[-1]
    report["fixed"] = str(error)

    # An event is there once it is on disk, which is a moment after its change was answered.
    while not good(await client.list_log_events(filter='eventType eq "zone.delete"'))[0]:
        await asyncio.sleep(0.1)
    report["polled"], _ = await pages(client, 50, limit=2)
    report["bounded"] = await pages(
        client, 50, limit=2, since="2020-01-01T00:00:00.000Z", until="2100-01-01T00:00:00.000Z",
        filter='eventType sw "zone." and not (eventType eq "zone.update")', sort_order="DESCENDING",
    )
    events, _ = good(await client.list_log_events(q="python zone.create"))
    report["found"] = [[event.actor.id, word(event.outcome.result), event.target[0].id] for event in events]
    error = (await client.list_log_events(filter='eventType eqq "x"'))[-1]
    report["bad_filter"] = str(error)
    stranger = Client({"orgUrl": url, "token": "wrong", "requestTimeout": 60})
    error = (await stranger.list_log_events())[-1]
    report["stranger"] = str(error)
    print(json.dumps(report))


asyncio.run(main(*sys.argv[1:]))
