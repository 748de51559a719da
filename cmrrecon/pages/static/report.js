// The movies of a report, and the order and filter of its cards. Nothing is requested from anywhere.
"use strict";

(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const { scans, colours } = read("movies");

  function load(uri) {
    return new Promise((resolve) => {
      const picture = new Image();
      picture.onload = () => resolve(picture);
      picture.onerror = () => resolve(null);
      picture.src = uri;
    });
  }

  // Replaces the grey values of a canvas by the colours of error maps.
  function colour(context, width, height) {
    const content = context.getImageData(0, 0, width, height);
    const pixels = content.data;
    for (let i = 0; i < pixels.length; i += 4) {
      const entry = 3 * pixels[i];
      pixels[i] = colours[entry];
      pixels[i + 1] = colours[entry + 1];
      pixels[i + 2] = colours[entry + 2];
    }
    context.putImageData(content, 0, 0);
  }

  class Viewer {
    constructor(movies) {
      this.movies = movies;
      this.frame = movies.frame;
      this.timer = null;
      this.loaded = null;
      this.section = document.getElementById(`scan-${movies.scan}`);
      this.root = this.section.querySelector(".viewer");
      this.button = this.section.querySelector(".play");
      this.range = this.section.querySelector("input.frame");
      this.output = this.section.querySelector(".at");

      for (const canvas of this.section.querySelectorAll("canvas")) {
        canvas.width = movies.x;
        canvas.height = movies.y;
      }
      this.connect();
    }

    connect() {
      if (this.button) {
        this.button.addEventListener("click", () => this.toggle());
        this.range.addEventListener("input", () => {
          this.pause();
          this.show(Number(this.range.value));
        });
        this.root.addEventListener("keydown", (event) => this.key(event));
      }

      this.divider = this.section.querySelector("input.divider");
      if (this.divider) {
        this.divider.addEventListener("input", () => this.divide());
        for (const select of this.section.querySelectorAll("select")) {
          select.addEventListener("change", () => this.draw());
        }
        this.divide();
      }
    }

    // The pictures of every view: images and errors. Decoded when they are first needed.
    pictures() {
      if (this.loaded === null) {
        const all = this.movies.views.map(async (view) => ({
          columns: view.columns,
          image: await load(view.image),
          error: view.error === null ? null : await load(view.error),
        }));
        this.loaded = Promise.all(all);
      }
      return this.loaded;
    }

    async draw() {
      this.views = await this.pictures();
      for (const canvas of this.section.querySelectorAll(".views canvas")) {
        const kind = canvas.className;
        this.paint(canvas, this.views[Number(canvas.dataset.view)], kind);
      }
      for (const side of ["left", "right"]) {
        const select = this.section.querySelector(`select.${side}`);
        if (select) {
          const canvas = this.section.querySelector(`canvas.${side}`);
          this.paint(canvas, this.views[Number(select.value)], "image");
        }
      }
      if (this.output) {
        this.output.textContent = `${this.frame + 1} of ${this.movies.frames}`;
      }
      this.section.dataset.frame = String(this.frame);
    }

    paint(canvas, view, kind) {
      const picture = view[kind];
      if (picture === null) {
        return;
      }
      const { x, y } = this.movies;
      const context = canvas.getContext("2d", { willReadFrequently: kind === "error" });
      const left = (this.frame % view.columns) * x;
      const top = Math.floor(this.frame / view.columns) * y;
      context.drawImage(picture, left, top, x, y, 0, 0, x, y);
      if (kind === "error") {
        colour(context, x, y);
      }
    }

    show(frame) {
      const { frames } = this.movies;
      this.frame = (frame + frames) % frames;
      if (this.range) {
        this.range.value = String(this.frame);
      }
      return this.draw();
    }

    toggle() {
      if (this.timer === null) {
        this.timer = setInterval(() => this.show(this.frame + 1), this.movies.ms);
        this.button.textContent = "Pause";
      } else {
        this.pause();
      }
    }

    pause() {
      clearInterval(this.timer);
      this.timer = null;
      this.button.textContent = "Play";
    }

    key(event) {
      const name = event.target.tagName;
      // Sliders and lists have these keys themselves; a button has the space bar.
      if (name === "INPUT" || name === "SELECT" || (name === "BUTTON" && event.key === " ")) {
        return;
      }
      const steps = { ArrowLeft: this.frame - 1, ArrowRight: this.frame + 1, Home: 0, End: -1 };
      if (event.key === " ") {
        this.toggle();
      } else if (event.key in steps) {
        this.pause();
        this.show(steps[event.key]);
      } else {
        return;
      }
      event.preventDefault();
    }

    divide() {
      const share = Number(this.divider.value);
      this.section.querySelector("canvas.left").style.clipPath = `inset(0 ${100 - share}% 0 0)`;
      this.section.querySelector(".edge").style.left = `${share}%`;
    }
  }

  function connectCards() {
    const place = document.getElementById("cards");
    const cards = [...place.children];
    const { values } = read("orders");
    const order = document.getElementById("order");
    const filter = document.getElementById("filter");
    const matches = document.getElementById("matches");

    order.addEventListener("change", () => {
      const chosen = values[Number(order.value)];
      const indices = cards.map((_, index) => index);
      if (chosen) {
        const value = (index) => (chosen[index] === null ? Infinity : chosen[index]);
        indices.sort((a, b) => value(a) - value(b) || a - b);
      }
      place.append(...indices.map((index) => cards[index]));
    });

    filter.addEventListener("input", () => {
      const wanted = filter.value.trim().toLowerCase();
      let shown = 0;
      for (const card of cards) {
        card.hidden = !card.textContent.toLowerCase().includes(wanted);
        shown += card.hidden ? 0 : 1;
      }
      matches.textContent = wanted ? `${shown} of ${cards.length} scans` : "";
    });
  }

  async function main() {
    connectCards();
    const viewers = scans.map((movies) => new Viewer(movies));
    // One after the other, so that the first scans appear at once and all are ready to print.
    for (const viewer of viewers) {
      await viewer.draw();
    }
    document.body.dataset.ready = "true";
  }

  main();
})();
