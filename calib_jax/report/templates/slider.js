"use strict";
(() => {
  const view = document.querySelector("[data-cascade]");
  const slider = view.querySelector(".slider");
  const input = slider.querySelector("input");
  const mark = view.querySelector(".mark-at-k");
  const name = view.querySelector(".mark-at-k-name text");
  const rows = document.querySelectorAll("tr[data-says]");
  const parts = view.querySelectorAll("[data-part]");
  const show = () => {
    const row = rows[input.valueAsNumber];
    for (const part of parts) {
      const cell = row.querySelector(`[data-name="${part.dataset.part}"]`);
      part.textContent = cell ? cell.textContent : row.dataset.says;
    }
    mark.setAttribute("transform", `translate(${row.dataset.x} ${row.dataset.y})`);
    name.textContent = `K = ${input.value}`;
    rows.forEach((one) => one.removeAttribute("aria-current"));
    row.setAttribute("aria-current", "true");
  };
  input.addEventListener("input", show);
  slider.hidden = false;
  // A browser that goes back to the page brings the slider's last place with it.
  window.addEventListener("pageshow", () => {
    if (input.value !== input.defaultValue) show();
  });
})();
