"""A browser without a window, driven over the DevTools protocol: JSON messages through two pipes, a zero byte
after each.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

SECONDS = 30.0
"""That the browser may take to answer."""

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-pipe",
]

KEYS = {"Enter": ("Enter", 13, "\r"), " ": ("Space", 32, " "), "Tab": ("Tab", 9, "")}
"""Code, number and text of a key."""


class Chromium:
    """The browser; a context manager that ends it."""

    def __init__(self, profile: Path) -> None:
        program = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
        if program is None:
            raise RuntimeError(
                "there is no chromium; apt-get install chromium, or name one: CHROMIUM=/path/to/chrome."
            )
        self._numbers, self._unread, self.events = 0, b"", list[dict[str, Any]]()
        commands, self._write = _pipe()
        self._read, answers = _pipe()

        def take_pipes() -> None:  # the browser reads from file descriptor 3 and writes to 4
            os.dup2(commands, 3)
            os.dup2(answers, 4)

        self._process = subprocess.Popen(
            [program, *FLAGS, f"--user-data-dir={profile}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(3, 4),
            preexec_fn=take_pipes,
        )
        os.close(commands)
        os.close(answers)

    def __enter__(self) -> Chromium:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._write)  # which is the browser's sign to end
        try:
            self._process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._read)

    def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Send a command and return the answer; events that come before it are kept."""
        self._numbers += 1
        command = {"id": self._numbers, "method": method, "params": parameters} | (
            {"sessionId": session} if session else {}
        )
        os.write(self._write, json.dumps(command).encode() + b"\0")
        deadline = time.monotonic() + SECONDS
        while (message := self._next(deadline)).get("id") != command["id"]:
            self.events.append(message)
        if "error" in message:
            raise RuntimeError(f"{method}: {message['error']['message']}")
        answer: dict[str, Any] = message["result"]
        return answer

    def wait(self, method: str, session: str) -> None:
        """Until there is such an event."""
        deadline = time.monotonic() + SECONDS
        while not any(
            event["method"] == method and event.get("sessionId") == session for event in self.events
        ):
            self.events.append(self._next(deadline))

    def _next(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._unread:
            if not select.select([self._read], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise RuntimeError(f"chromium did not answer within {SECONDS:g} seconds.")
            part = os.read(self._read, 2**20)
            if not part:
                raise RuntimeError("chromium ended by itself; start it by hand to see why.")
            self._unread += part
        message, _, self._unread = self._unread.partition(b"\0")
        decoded: dict[str, Any] = json.loads(message)
        return decoded


class Tab:
    """A page in the browser, and what happened in it."""

    def __init__(self, browser: Chromium, *, width: int = 1200, height: int = 900) -> None:
        self.browser = browser
        self.target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = browser.call("Target.attachToTarget", targetId=self.target, flatten=True)["sessionId"]
        for part in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{part}.enable")
        self.resize(width, height)

    def close(self) -> None:
        """Forget the page."""
        self.browser.call("Target.closeTarget", targetId=self.target)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command to this page."""
        return self.browser.call(method, self.session, **parameters)

    def events(self, *methods: str) -> list[dict[str, Any]]:
        """What was heard of, of these kinds."""
        own = (event for event in self.browser.events if event.get("sessionId") == self.session)
        return [event["params"] for event in own if event["method"] in methods]

    def open(self, path: Path) -> Tab:
        """Load a file."""
        self.call("Page.navigate", url=path.as_uri())
        self.browser.wait("Page.loadEventFired", self.session)
        return self

    @property
    def complaints(self) -> list[dict[str, Any]]:
        """What was written on the console, by the page or about it, exceptions included."""
        return self.events("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")

    @property
    def requests(self) -> list[str]:
        """Addresses of what was asked for, whether it came or not."""
        return [event["request"]["url"] for event in self.events("Network.requestWillBeSent")]

    def resize(self, width: int, height: int, scale: float = 1) -> None:
        """Give the window another size."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=width < 600,
        )

    def emulate(self, media: str = "screen", scheme: str = "light") -> None:
        """Show the page as on paper, or in the dark."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", media=media, features=features)

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression, as JSON would have it."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{expression}: {answer['exceptionDetails']['exception'].get('description')}")
        return answer["result"].get("value")

    def click(self, selector: str) -> None:
        """With the mouse, in the middle of the first such element."""
        element = f"document.querySelector({json.dumps(selector)})"
        self.evaluate(f"{element}.scrollIntoView({{block: 'center'}})")
        x, y, width, height = self.evaluate(
            f"(({{x, y, width, height}}) => [x, y, width, height])({element}.getBoundingClientRect())"
        )
        x, y = x + width / 2, y + height / 2
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, key: str) -> None:
        """A key, and let it go."""
        code, number, text = KEYS[key]
        shared = {"key": key, "code": code, "windowsVirtualKeyCode": number}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **shared)
        self.call("Input.dispatchKeyEvent", type="keyUp", **shared)

    def screenshot(self, path: Path) -> None:
        """Of the whole page, beyond the window."""
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def print(self, path: Path) -> None:
        """To a PDF file."""
        path.write_bytes(base64.b64decode(self.call("Page.printToPDF", printBackground=True)["data"]))


def _pipe() -> tuple[int, int]:
    """Both ends above the file descriptors that the browser is given."""
    ends = os.pipe()
    high = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends]
    for end in ends:
        os.close(end)
    return high[0], high[1]
