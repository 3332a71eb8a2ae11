"""Takes the pictures of a cascade's page, light and dark, for the README.

python docs/images/report.py calib-jax-cascade/report.html
"""

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright


def take(page_file: Path) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        for scheme, name in (("light", "report.png"), ("dark", "report-dark.png")):
            page = browser.new_page(
                viewport={"width": 900, "height": 1400},
                color_scheme=scheme,
                device_scale_factor=2,
            )
            page.goto(page_file.resolve().as_uri())
            start = page.locator("h2", has_text="The choice of K").bounding_box()
            view = page.locator("[data-cascade]").bounding_box()
            taken = page.screenshot(
                clip={
                    "x": view["x"] - 24,
                    "y": start["y"] - 24,
                    "width": view["width"] + 48,
                    "height": view["y"] + view["height"] - start["y"] + 32,
                },
                full_page=True,
            )
            # Few colours make a small file.
            few = Image.open(io.BytesIO(taken)).convert("RGB").quantize(96)
            few.save(Path(__file__).with_name(name), optimize=True)
        browser.close()


if __name__ == "__main__":
    take(Path(sys.argv[1]))
