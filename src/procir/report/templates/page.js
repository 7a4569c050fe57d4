(() => {
  "use strict";

  const sheets = [...document.querySelectorAll("[data-sheet]")];
  const links = sheets.map((sheet) => document.querySelector(`[data-jump][href="#${sheet.id}"]`));
  let current = -1;
  let held = false;

  const mark = (index) => {
    if (index === current) return;
    links[current]?.removeAttribute("aria-current");
    current = index;
    const link = links[current];
    if (!link) return;
    link.setAttribute("aria-current", "true");
    const strip = link.closest("ol");
    strip.scrollLeft = link.offsetLeft - strip.clientWidth / 2;
  };

  const go = (index) => {
    if (index < 0 || index >= sheets.length) return;
    held = true;
    mark(index);
    sheets[index].focus({ preventScroll: true });
    sheets[index].scrollIntoView({ block: "start" });
    history.replaceState(null, "", `#${sheets[index].id}`);
  };

  // Scrolling by hand decides again which sheet is the current one.
  for (const name of ["wheel", "touchmove", "pointerdown"]) {
    addEventListener(name, () => { held = false; }, { passive: true });
  }
  const observer = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!held && entry.isIntersecting) mark(sheets.indexOf(entry.target));
    }
  }, { rootMargin: "-20% 0px -79% 0px" });
  sheets.forEach((sheet) => observer.observe(sheet));

  const zoom = document.getElementById("zoom");

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey || zoom.open) return;
    if (event.target.closest("input, textarea, select, [contenteditable], .scroller")) return;
    const step = { j: 1, ArrowRight: 1, k: -1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    go(current + step);
  });

  document.addEventListener("click", (event) => {
    const link = event.target.closest("[data-jump]");
    if (link) {
      event.preventDefault();
      go(sheets.findIndex((sheet) => `#${sheet.id}` === link.getAttribute("href")));
      return;
    }
    const card = event.target.closest("button.product");
    if (card) open(card);
    if (event.target === zoom) zoom.close();
  });

  const open = (card) => {
    zoom.querySelector("h2").textContent = card.dataset.name;
    zoom.querySelector("[data-role=fact]").textContent = card.dataset.fact;
    zoom.querySelector("[data-role=caption]").textContent = card.title;
    const views = zoom.querySelector("[data-role=views]");
    views.replaceChildren(...[...card.querySelectorAll("svg")].map((svg) => {
      const figure = document.createElement("figure");
      const label = document.createElement("figcaption");
      label.textContent = svg.dataset.label;
      figure.append(svg.cloneNode(true), label);
      return figure;
    }));
    zoom.showModal();
  };
})();
