"""A browser for the live page: every page that a test opens must be quiet, and must ask nobody but the server."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from playwright.async_api import Page, async_playwright, expect

from tests.support.servers import ROOT, ServerProcess

CHROMIUM: Final = os.environ.get("TRUNKLINE_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
PICTURES: Final = ROOT / "build" / "page"
ACTION_MS: Final = 15_000
"""Time that anything on the page may take before a test fails, on a machine that others use too."""
expect.set_options(timeout=ACTION_MS)


@dataclass(slots=True)
class Seen:
    """What a page did besides what it shows."""

    complaints: list[str] = field(default_factory=list[str])
    """Errors and warnings of the console, and exceptions nobody caught."""
    hosts: set[str] = field(default_factory=set[str])
    """Whom it asked for anything."""


@dataclass(slots=True)
class Tab:
    """An open page and what it did."""

    page: Page
    seen: Seen

    async def picture(self, name: str) -> None:
        """Keep a picture as build output."""
        PICTURES.mkdir(parents=True, exist_ok=True)
        await self.page.screenshot(path=PICTURES / f"{name}.png")


@asynccontextmanager
async def opened(
    address: str,
    *,
    dark: bool = False,
    phone: bool = False,
    flags: tuple[str, ...] = (),
    init: str = "",
    expected: tuple[str, ...] = (),
) -> AsyncGenerator[Tab]:
    """Open a page in a browser of its own.

    Args:
        address: Where.
        dark: Whether the system prefers dark colours.
        phone: Whether the window is that of a phone.
        flags: Further flags of Chromium.
        init: JavaScript that runs before the page's own.
        expected: What complaints may hold: who shows no key is refused, and browsers say so.
    """
    seen = Seen()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *flags])
        context = await browser.new_context(
            viewport={"width": 390, "height": 800} if phone else {"width": 1280, "height": 820},
            color_scheme="dark" if dark else "light",
            has_touch=phone,
            accept_downloads=True,
        )
        context.set_default_timeout(ACTION_MS)
        page = await context.new_page()
        page.on("request", lambda request: seen.hosts.add(urlsplit(request.url).hostname or "data"))
        page.on("websocket", lambda socket: seen.hosts.add(urlsplit(socket.url).hostname or ""))
        page.on("pageerror", lambda problem: seen.complaints.append(str(problem)))
        page.on(
            "console", lambda said: seen.complaints.append(said.text) if said.type in ("error", "warning") else None
        )
        if init:
            await page.add_init_script(init)
        await page.goto(address)
        yield Tab(page, seen)
        await browser.close()
    assert seen.hosts == {"127.0.0.1"}, "the page asked somebody else"
    unexpected = [each for each in seen.complaints if not any(part in each for part in expected)]
    assert not unexpected, unexpected


def live(server: ServerProcess | int, view: str = "calls") -> str:
    """Return the address of a view."""
    port = server if isinstance(server, int) else server.port
    return f"http://127.0.0.1:{port}/live/#/{view}"


def clip(name: str) -> Path:
    """Return the path of a recording of the tests."""
    return ROOT / "tests" / "data" / name
