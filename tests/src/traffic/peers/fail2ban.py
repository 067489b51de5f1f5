"""Runs a log of the past through fail2ban's own filter and failure counter, at the time that its lines say.

Arguments: the folder of fail2ban's package, the filter (a name of its filter.d or a file of ours), the log.
Output: a line for each ban: the address, its begin and its end in seconds since the epoch.

The server itself cannot do this: it reads lines as they come and ignores what is older than findtime. What is banned
does not reach the log, so lines of a banned address are passed over.
"""
import calendar
import os
import sys

package, filter_name, log = sys.argv[1:]
sys.path.insert(0, os.path.join(package, "usr/lib/python3/dist-packages"))

from fail2ban.client.filterreader import FilterReader  # noqa: E402
from fail2ban.server.filter import FileFilter  # noqa: E402
from fail2ban.server.mytime import MyTime  # noqa: E402

# jail.conf of Debian: maxretry and findtime. Ten minutes of ban are its default too; whoever cares sets an hour that
# doubles for repeaters (bantime.increment), up to a week (bantime.maxtime).
MAX_RETRY, FIND_TIME = 5, 600
BAN_TIME, BAN_TIME_MAX = 3600, 7 * 86400
MONTHS = {name: number for number, name in enumerate(
    "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(), 1)}


class Jail:
    """As much of a jail as a filter asks for."""

    name, database = "peer", None

    def __init__(self):
        self.banned, self.count = {}, {}

    def putFailTicket(self, ticket):
        address, begin = str(ticket.getID()), int(MyTime.time())
        count = self.count.get(address, 0)
        end = begin + min(BAN_TIME << min(count, 20), BAN_TIME_MAX)
        self.banned[address], self.count[address] = end, count + 1
        print(address, begin, end)


def configured(jail):
    here = os.path.dirname(os.path.abspath(__file__))
    ours = os.path.exists(os.path.join(here, "filter.d", filter_name + ".conf"))
    base = here if ours else os.path.join(package, "etc/fail2ban")
    reader = FilterReader(filter_name, jail.name, {"logtype": "file"}, basedir=base)
    if not reader.read():
        sys.exit(f"no filter {filter_name} in {base}")
    reader.getOptions(None)
    filter_ = FileFilter(jail, useDns="no")
    filter_.setMaxRetry(MAX_RETRY)
    filter_.setFindTime(FIND_TIME)
    filter_.failManager.maxMatches = 0
    for command in reader.convert():
        # ["set", jail, option, value] or, for several values, ["multi-set", jail, option, [values]]
        option = command[2]
        values = command[3] if command[0] == "multi-set" else command[3:4]
        for value in values:
            if option == "addfailregex":
                filter_.addFailRegex(value)
            elif option == "addignoreregex":
                filter_.addIgnoreRegex(value)
            elif option == "prefregex":
                filter_.prefRegex = value
            elif option == "maxlines":
                filter_.setMaxLines(value)
            elif option == "datepattern":
                filter_.setDatePattern(value)
    return filter_


def moment(line):
    """Of an access log or of ISO times, both in UTC."""
    if line[:4].isdigit() and line[4] == "-":
        date = [int(part) for part in line[:10].split("-")]
        clock = line[11:19]
    else:
        stamp = line[line.index("[") + 1:]
        date = [int(stamp[7:11]), MONTHS[stamp[3:6]], int(stamp[:2])]
        clock = stamp[12:20]
    return calendar.timegm((*date, *(int(part) for part in clock.split(":"))))


def addresses(line):
    """The address of a line, for what is banned already."""
    if " from " in line:
        return line.rsplit(" from ", 1)[1].split(" ", 1)[0]
    return line.split(" ", 1)[0]


jail = Jail()
filter_ = configured(jail)
with open(log) as lines:
    for line in lines:
        now = moment(line)
        if jail.banned.get(addresses(line), 0) > now:
            continue
        MyTime.setTime(now)
        filter_.processLineAndAdd(line.rstrip("\n"))
