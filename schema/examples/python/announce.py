#!/usr/bin/env python3
"""Announces tasks that were submitted to APIXO to a relay, by HTTP, with nothing but the
standard library. Beside a relay that runs with RELAY_EXPECT=true:

    python3 announce.py nano-banana task_abc123xyz

RELAY_URL is where the relay takes webhooks, http://127.0.0.1:8720 unless it is set, and
RELAY_TOKEN one of its tokens, if it has some.

A service calls announce with the id in APIXO's answer to its request, and again after a
restart for each task of which it does not know that it has ended: to announce one twice
changes nothing. ../../DELIVERY.md says what else there is to know.
"""
import json
import os
import sys
import time
import urllib.error
import urllib.request

URL = os.environ.get("RELAY_URL", "http://127.0.0.1:8720").rstrip("/") + "/expect"
TOKEN = os.environ.get("RELAY_TOKEN")


def announce(task_id, model, tries=5):
    """Returns whether the relay looks after the task now; if not, its event is there already."""
    headers = {"Content-Type": "application/json"}
    if TOKEN:
        headers["Authorization"] = "Bearer " + TOKEN
    body = json.dumps({"taskId": task_id, "model": model}).encode()
    while True:
        tries -= 1
        try:
            request = urllib.request.Request(URL, body, headers)
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.load(answer)["expected"]
        except urllib.error.HTTPError as err:
            if err.code != 503 or tries == 0:  # all others would be the same again
                raise RuntimeError(f"{task_id}: {err.code}: {err.read().decode(errors='replace')}") from None
            pause = int(err.headers.get("Retry-After", "1"))
        except OSError as err:  # nobody answers
            if tries == 0:
                raise RuntimeError(f"{task_id}: {URL}: {err}") from None
            pause = 1
        time.sleep(pause)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit("a model and the ids of tasks are needed: announce.py nano-banana task_abc123xyz")
    for task in sys.argv[2:]:
        try:
            expected = announce(task, sys.argv[1])
        except RuntimeError as err:
            sys.exit(str(err))
        print(task, "announced" if expected else "has ended already", flush=True)
