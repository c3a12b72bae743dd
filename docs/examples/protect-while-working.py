#!/usr/bin/env python3
"""A worker that Amazon ECS does not stop while it works.

It reads jobs from its input, one command a line. Before each job it asks for
scale-in protection of its task, renews it while the job runs, and gives it
back afterwards: also when the job fails, and when the worker is told to stop.

    protect-while-working.py < jobs

https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-scale-in-protection-endpoint.html
"""

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

# How long the protection lasts if nobody gives it back, because the worker was
# killed: 1 to 2880 minutes. A job may take longer, for it is renewed.
MINUTES = int(os.environ.get("PROTECTION_MINUTES", "10"))
RENEW_SECONDS = float(os.environ.get("RENEW_SECONDS", MINUTES * 60 / 3))

STATE = os.environ["ECS_AGENT_URI"] + "/task-protection/v1/state"
WORTH_ANOTHER_TRY = {"ThrottlingException", "RequestCanceled", "ServerException"}

direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # the agent is never behind a proxy


class Refused(Exception):
    """ECS does not change the protection of this task."""


def put(wanted):
    request = urllib.request.Request(STATE, json.dumps(wanted).encode(), method="PUT")
    try:
        with direct.open(request, timeout=10) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        return json.load(error)


def set_protection(enabled):
    wanted = {"ProtectionEnabled": enabled}
    if enabled:
        wanted["ExpiresInMinutes"] = MINUTES
    for pause in (1, 2, 4, None):
        answer = put(wanted)
        if "protection" in answer:
            return
        # An "error"; or a "failure", as for a task of no service, with status 200.
        code = answer.get("error", {}).get("Code")
        if pause is None or code not in WORTH_ANOTHER_TRY:
            raise Refused(json.dumps(answer))
        time.sleep(pause)


def say(*words):
    print("worker:", *words, file=sys.stderr, flush=True)


class Stop:
    """Ends the worker, by an exception, when it is told to stop: at once, or
    as soon as nothing holds it back."""

    number = None
    held_back = False

    def __call__(self, number, _):
        self.number = self.number or number
        if not self.held_back:
            self.held_back = True  # once is enough
            self.now()

    def now(self):
        sys.exit(128 + self.number)


stop = Stop()


@contextlib.contextmanager
def protected():
    """Protects the task for as long as the block runs."""
    done = threading.Event()

    def renew():
        while not done.wait(RENEW_SECONDS):
            try:
                set_protection(True)
            except (OSError, ValueError, Refused) as problem:
                say("protection was not renewed:", problem)  # it still holds; the next try may help

    renewal = threading.Thread(target=renew)
    try:
        set_protection(True)
        renewal.start()
        yield
    finally:
        stop.held_back = True
        done.set()
        if renewal.ident:
            renewal.join()  # or it might protect the task once more
        try:
            set_protection(False)
        except (OSError, ValueError, Refused) as problem:
            say(f"protection was not given back, it ends within {MINUTES} minutes:", problem)
        stop.held_back = False
        if stop.number:
            stop.now()


def main():
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    for job in sys.stdin:
        try:
            with protected():
                code = subprocess.run(shlex.split(job), check=False).returncode
        except (OSError, ValueError, Refused) as problem:
            sys.exit(f"worker: {job.strip()!r} was not run: {problem}")
        if code != 0:
            say(repr(job.strip()), "ended with", code)


if __name__ == "__main__":
    main()
