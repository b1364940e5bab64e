"""The page in a real browser: Debian's chromium, driven by Playwright, at the widths of a desk and of a hand.

Screenshots go to build/screenshots, to be looked at.
"""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from linnet.bundle import read_manifest
from tests.service.running import ROOT, ServerProcess

PYTHON = ROOT / ".venv-demo" / "bin" / "python"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SCREENSHOTS = ROOT / "build" / "screenshots"
CAT = ROOT / "examples" / "cat.jpg"
# Whether the rule to abstain flags the photo is the model's affair.
CAT_IN_WORDS = re.compile(r"(The model says|Its best guess would be) cat \(")
DESK, HAND = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
PATIENCE_MS = 30_000

pytestmark = [
    pytest.mark.alone,
    pytest.mark.e2e,
    pytest.mark.skipif(not PYTHON.exists(), reason="the page's environment is missing: make .venv-demo/.installed"),
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here: install Debian's package"),
]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The address of the page over a real service with the bundled models."""
    with ServerProcess(ROOT / "models") as server:
        command: list[str | Path] = [PYTHON, "-m", "demo", "--url", server.url, "--port", "0"]
        page = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert page.stdout is not None
        try:
            found = re.search(r"http://\S+", page.stdout.readline())
            assert found is not None
            yield found[0]
        finally:
            page.terminate()
            page.wait()
            page.stdout.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(params=[DESK, HAND], ids=["desk", "hand"])
def page(request: pytest.FixtureRequest, browser: Browser, address: str) -> Iterator[Page]:
    """The page, opened; whatever it asks of another address, and whatever it complains of, fails the test."""
    context = browser.new_context(viewport=request.param, device_scale_factor=1)
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    expect.set_options(timeout=PATIENCE_MS)
    elsewhere: list[str] = []
    complaints: list[str] = []
    ours = (address, "data:", "blob:")
    page.on("request", lambda sent: None if sent.url.startswith(ours) else elsewhere.append(sent.url))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(address)
    expect(page.get_by_label("Model", exact=True)).to_have_value(re.compile("default"))
    yield page
    width = page.evaluate("document.documentElement.scrollWidth")
    context.close()
    assert elsewhere == []
    assert complaints == []
    assert width <= request.param["width"]


def shoot(page: Page, name: str) -> None:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    kind = "desk" if page.viewport_size == DESK else "hand"
    time.sleep(0.5)  # for transitions to end
    page.screenshot(path=SCREENSHOTS / f"{name}-{kind}.png", full_page=True)


def test_an_uploaded_image_gets_its_three_classes(page: Page) -> None:
    page.locator("#image input[type=file]").set_input_files(CAT)
    expect(page.locator("#verdict")).to_contain_text(CAT_IN_WORDS)
    top = page.locator("#top")
    expect(top).to_contain_text("cat")
    expect(top.get_by_text(re.compile(r"^\d+%$"))).to_have_count(3)
    heat = page.locator("#heat img")
    expect(heat).to_be_visible()
    assert heat.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    shoot(page, "one-image")


def test_an_example_is_one_click(page: Page) -> None:
    page.locator(".gallery-item, .examples button, button.gallery-item").first.click()
    expect(page.locator("#verdict")).to_contain_text(CAT_IN_WORDS)


def test_what_is_no_image_is_said(page: Page, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(CAT.read_bytes()[:300])
    page.locator("#image input[type=file]").set_input_files(broken)
    expect(page.locator("#verdict")).to_contain_text("The image cannot be read")


def test_many_images_become_a_gallery_and_a_csv(page: Page, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(CAT.read_bytes()[:300])
    page.get_by_role("tab", name="Many images").click()
    page.locator("#files input[type=file]").set_input_files([CAT, broken])
    expect(page.locator("#files")).to_contain_text("broken")
    page.get_by_role("button", name="Classify").click()
    expect(page.locator("#summary")).to_contain_text("2 images, 1 of them not read.")
    expect(page.locator("#gallery")).to_contain_text(re.compile(r"cat \d"))
    with page.expect_download() as download:
        page.locator("#csv").click()
    with Path(download.value.path()).open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["file"], row["label"], row["error"]) for row in rows] == [
        ("cat.jpg", "cat", ""), ("broken.jpg", "", "unreadable_image")
    ]  # fmt: skip
    shoot(page, "many-images")


def test_the_model_says_how_good_it_is(page: Page) -> None:
    page.get_by_role("tab", name="Model").click()
    variants = read_manifest(ROOT / "models" / "cifar10" / "4").variants
    scores = [f"{100 * variant.metrics.accuracy:.2f} % of {variant.metrics.n:,} test images" for variant in variants]
    expect(page.locator("#about")).to_contain_text(re.compile("|".join(map(re.escape, scores))))
    shoot(page, "model")
