"use strict";
// A gallery of scenes in which slots are looked at, switched off, swapped and moved. It reads
// #gallery-data, which `slots/visualize/gallery.py` wrote, and fills #gallery. A scene is a list of
// components, each of which is a slot of some scene; the picture is Σ softmax(alphas) ⊙ parts of
// those that are on.

const OFF = -32768; // alpha of a slot that takes no part
const KINDS = { u1: Uint8Array, i2: Int16Array };
const product = (numbers) => numbers.reduce((a, b) => a * b, 1);

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

async function unpack(packed) {
  const bytes = Uint8Array.from(atob(packed.blob), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const buffer = await new Response(stream).arrayBuffer();
  const arrays = {};
  for (const [name, { kind, shape, offset }] of Object.entries(packed.arrays)) {
    arrays[name] = { shape, data: new KINDS[kind](buffer, offset, product(shape)) };
  }
  return { ...packed, arrays, scenes: [], picked: null };
}

function channels(hex) {
  return [1, 3, 5].map((place) => parseInt(hex.slice(place, place + 2), 16));
}

function paint(canvas, height, width, color) {
  // color(pixel, out) writes red, green and blue from 0 to 255.
  canvas.width = width;
  canvas.height = height;
  const picture = new ImageData(width, height);
  const rgb = [0, 0, 0];
  for (let pixel = 0; pixel < height * width; pixel++) {
    color(pixel, rgb);
    for (let i = 0; i < 3; i++) picture.data[4 * pixel + i] = Math.round(rgb[i]);
    picture.data[4 * pixel + 3] = 255;
  }
  canvas.getContext("2d").putImageData(picture, 0, 0);
}

class Scene {
  constructor(run, number, title) {
    Object.assign(this, { run, number, title, hovered: null, chosen: 0 });
    [, this.count, this.height, this.width] = run.arrays.alphas.shape;
    this.places = this.height * this.width;
    this.begin();
    this.build();
  }

  begin() {
    this.components = [];
    for (let slot = 0; slot < this.count; slot++) {
      this.components.push({ scene: this.number, slot, on: true });
    }
    this.chosen = Math.min(this.chosen, this.count - 1);
  }

  name(component) {
    const own = this.run.names[component.slot];
    return component.scene === this.number ? own : `${own} of scene ${component.scene + 1}`;
  }

  // ---- numbers ---------------------------------------------------------------------------------

  start(component) {
    return (component.scene * this.count + component.slot) * this.places;
  }

  mix() {
    // Weights [component, pixel] and the owner of every pixel, -1 where nobody is on.
    const { data } = this.run.arrays.alphas;
    const list = this.components;
    this.weights = new Float32Array(list.length * this.places);
    this.owners = new Int16Array(this.places).fill(-1);
    this.tops = new Int16Array(this.places);
    this.totals = new Float32Array(this.places);
    const starts = list.map((component) => this.start(component));
    for (let pixel = 0; pixel < this.places; pixel++) {
      let top = OFF;
      for (let c = 0; c < list.length; c++) {
        const alpha = data[starts[c] + pixel];
        if (list[c].on && alpha !== OFF && (this.owners[pixel] < 0 || alpha > top)) {
          top = alpha;
          this.owners[pixel] = c;
        }
      }
      if (this.owners[pixel] < 0) continue;
      let total = 0;
      for (let c = 0; c < list.length; c++) {
        const alpha = data[starts[c] + pixel];
        if (!list[c].on || alpha === OFF) continue;
        const weight = Math.exp((alpha - top) * this.run.alphaStep);
        this.weights[c * this.places + pixel] = weight;
        total += weight;
      }
      for (let c = 0; c < list.length; c++) this.weights[c * this.places + pixel] /= total;
      this.tops[pixel] = top;
      this.totals[pixel] = total;
    }
  }

  weight(c, pixel) {
    // Of a component that is off: the weight that it would have.
    if (this.components[c].on) return this.weights[c * this.places + pixel];
    const alpha = this.run.arrays.alphas.data[this.start(this.components[c]) + pixel];
    if (alpha === OFF) return 0;
    const others = Math.exp((this.tops[pixel] - alpha) * this.run.alphaStep);
    return 1 / (1 + this.totals[pixel] * others);
  }

  mixed(pixel, rgb) {
    rgb.fill(this.owners[pixel] < 0 ? 128 : 0);
    const { data } = this.run.arrays.parts;
    const unit = 255 * this.run.partStep;
    this.components.forEach((component, c) => {
      const weight = this.weights[c * this.places + pixel];
      if (!weight) return;
      const place = 3 * (this.start(component) + pixel);
      for (let i = 0; i < 3; i++) rgb[i] += weight * data[place + i] * unit;
    });
  }

  input(pixel, rgb) {
    const [, height, width] = this.run.arrays.images.shape;
    const place = 3 * (this.number * height * width + pixel);
    for (let i = 0; i < 3; i++) rgb[i] = this.run.arrays.images.data[place + i];
  }

  share(c) {
    let total = 0;
    for (let pixel = 0; pixel < this.places; pixel++) total += this.weights[c * this.places + pixel];
    return total / this.places;
  }

  error() {
    // Mean squared error to the input, of colours in [0, 1].
    const { images, parts } = this.run.arrays;
    if (!parts || product(images.shape.slice(1, 3)) !== this.places) return null;
    const [drawn, seen] = [[0, 0, 0], [0, 0, 0]];
    let total = 0;
    for (let pixel = 0; pixel < this.places; pixel++) {
      this.mixed(pixel, drawn);
      this.input(pixel, seen);
      for (let i = 0; i < 3; i++) {
        const shown = Math.min(255, Math.max(0, drawn[i]));
        total += ((shown - seen[i]) / 255) ** 2;
      }
    }
    return total / (3 * this.places);
  }

  at(pixel, height, width) {
    // Place in this scene's masks of a pixel of a picture of another size.
    const row = Math.floor((Math.floor(pixel / width) + 0.5) * (this.height / height));
    return row * this.width + Math.floor(((pixel % width) + 0.5) * (this.width / width));
  }

  // ---- elements --------------------------------------------------------------------------------

  build() {
    const { arrays, composable } = this.run;
    this.views = {};
    const views = make("div", { className: "views" });
    const titles = { input: "input", slots: "slots" };
    if (arrays.parts) titles.picture = composable ? "recomposed" : "reconstruction";
    if (arrays.truth) titles.truth = "true objects";
    for (const [name, title] of Object.entries(titles)) {
      const canvas = make("canvas");
      canvas.setAttribute("role", "img");
      canvas.dataset.view = name;
      this.views[name] = canvas;
      views.append(make("figure", {}, canvas, make("figcaption", { textContent: title })));
      if (name === "truth") continue;
      canvas.addEventListener("pointermove", (event) => this.hover(this.under(canvas, event)));
      canvas.addEventListener("pointerleave", () => this.hover(null));
      canvas.addEventListener("click", (event) => {
        const owner = this.under(canvas, event);
        if (owner >= 0) this.choose(owner);
      });
    }
    this.cards = make("div", { className: "cards" });
    const legend = make("legend", { className: "quiet", textContent: "Slots" });
    const fieldset = make("fieldset", {}, legend, this.cards);
    fieldset.addEventListener("keydown", (event) => this.key(event));
    this.actions = make("div", { className: "actions" });
    this.said = make("p", { className: "quiet said" });
    this.said.setAttribute("aria-live", "polite");
    this.strip = make("div", { className: "attention" });
    this.stripTitle = make("p", { className: "quiet" });
    this.element = make("section", { className: "scene" }, make("h3", { textContent: this.title }));
    this.element.setAttribute("aria-label", this.title);
    this.element.append(views, fieldset, this.actions, this.said, this.stripTitle, this.strip);
    this.change();
  }

  under(canvas, event) {
    const box = canvas.getBoundingClientRect();
    const part = (place, start, size, count) =>
      Math.min(count - 1, Math.max(0, Math.floor(((place - start) / size) * count)));
    const row = part(event.clientY, box.top, box.height, this.height);
    return this.owners[row * this.width + part(event.clientX, box.left, box.width, this.width)];
  }

  hover(owner) {
    const next = owner === null || owner < 0 ? null : owner;
    if (next === this.hovered) return;
    this.hovered = next;
    this.look();
  }

  choose(c) {
    this.chosen = c;
    this.cards.querySelectorAll("input[type=radio]")[c].checked = true;
    this.look();
    this.offer();
  }

  switch(c, on) {
    this.chosen = c;
    this.components[c].on = on;
    this.change();
    this.say(`${this.name(this.components[c])} is ${on ? "on" : "off"}.`);
  }

  say(text) {
    const error = this.error();
    const told = error === null ? "" : ` Mean squared error to the input: ${error.toPrecision(3)}.`;
    this.said.textContent = text + told;
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const run = {
      " ": () => this.switch(this.chosen, !this.components[this.chosen].on),
      p: () => this.pick(),
      s: () => this.swap(),
      m: () => this.bring(),
      r: () => this.reset(),
    }[event.key.toLowerCase()];
    if (!run || !this.run.composable) return;
    event.preventDefault();
    run();
    this.cards.querySelectorAll("input[type=radio]")[this.chosen].focus();
  }

  // ---- what is done to components --------------------------------------------------------------

  pick() {
    const here = this.run.picked && this.run.picked.scene === this;
    const again = here && this.run.picked.component === this.components[this.chosen];
    this.run.picked = again ? null : { scene: this, component: this.components[this.chosen] };
    this.run.scenes.forEach((scene) => scene.offer());
    const name = this.name(this.components[this.chosen]);
    this.say(again ? `${name} is put down.` : `${name} is picked: choose a slot of another scene.`);
  }

  other() {
    const { picked } = this.run;
    return picked && picked.scene !== this ? picked : null;
  }

  swap() {
    const picked = this.other();
    if (!picked) return;
    const place = picked.scene.components.indexOf(picked.component);
    const mine = this.components[this.chosen];
    [picked.scene.components[place], this.components[this.chosen]] = [mine, picked.component];
    this.done(picked.scene, `${this.name(picked.component)} came for ${this.name(mine)}.`);
  }

  bring() {
    const picked = this.other();
    if (!picked) return;
    this.components.push({ ...picked.component, on: true });
    picked.component.on = false;
    this.chosen = this.components.length - 1;
    this.done(picked.scene, `${this.name(picked.component)} was moved here.`);
  }

  done(from, text) {
    this.run.picked = null;
    from.change();
    from.say("A slot was taken to another scene.");
    this.change();
    this.say(text);
    this.run.scenes.forEach((scene) => scene.offer());
  }

  reset() {
    if (this.run.picked && this.run.picked.scene === this) this.run.picked = null;
    this.begin();
    this.change();
    this.say("As the model saw it.");
    this.run.scenes.forEach((scene) => scene.offer());
  }

  // ---- drawing ---------------------------------------------------------------------------------

  change() {
    this.mix();
    this.deal();
    this.look();
    this.offer();
    const { parts } = this.run.arrays;
    if (parts) {
      paint(this.views.picture, this.height, this.width, (pixel, rgb) => this.mixed(pixel, rgb));
      this.views.picture.setAttribute("aria-label", `${this.title}, what the slots draw together`);
    }
    if (this.views.truth) this.drawTruth();
    this.drawSlots();
  }

  deal() {
    // A card for each component.
    const { colors, composable } = this.run;
    const group = `slots-${this.run.number}-${this.number}`;
    this.cards.replaceChildren(
      ...this.components.map((component, c) => {
        const name = this.name(component);
        const thumb = make("canvas");
        this.drawPart(thumb, c);
        const radio = make("input", { type: "radio", name: group, checked: c === this.chosen });
        radio.addEventListener("change", () => this.choose(c));
        radio.addEventListener("focus", () => this.hover(c));
        radio.addEventListener("blur", () => this.hover(null));
        const swatch = make("div", { className: "swatch" });
        swatch.style.background = colors[component.slot];
        const share = component.on ? `${(100 * this.share(c)).toFixed(1)} %` : "–";
        const label = make("label", {}, radio, thumb, swatch, name, make("br"), share);
        const card = make("div", { className: "card" }, label);
        card.classList.toggle("off", !component.on);
        card.addEventListener("pointerenter", () => this.hover(c));
        card.addEventListener("pointerleave", () => this.hover(null));
        if (composable) {
          const box = make("input", { type: "checkbox", checked: component.on, tabIndex: -1 });
          box.setAttribute("aria-label", `${name} is on`);
          box.addEventListener("change", () => this.switch(c, box.checked));
          card.append(make("label", { className: "switch" }, box, component.on ? "on" : "off"));
        }
        return card;
      }),
    );
  }

  offer() {
    // The buttons that fit what is chosen and picked.
    [...this.cards.children].forEach((card, c) =>
      card.classList.toggle("chosen", c === this.chosen),
    );
    if (!this.run.composable) return;
    const button = (text, run) => {
      const element = make("button", { type: "button", textContent: text });
      element.addEventListener("click", run);
      return element;
    };
    const name = this.name(this.components[this.chosen]);
    const { picked } = this.run;
    const held = picked && picked.component === this.components[this.chosen];
    const found = [button(held ? `Put down ${name}` : `Pick ${name}`, () => this.pick())];
    if (this.other()) {
      const theirs = this.name(picked.component);
      found.push(button(`Swap ${name} with ${theirs}`, () => this.swap()));
      found.push(button(`Move ${theirs} here`, () => this.bring()));
    }
    found.push(button("Reset scene", () => this.reset()));
    this.actions.replaceChildren(...found);
  }

  look() {
    // What follows the slot that is hovered, or else chosen.
    const c = Math.min(this.hovered ?? this.chosen, this.components.length - 1);
    this.drawInput(this.hovered === null ? null : c);
    const component = this.components[c];
    const { attention } = this.run.arrays;
    if (!attention) return;
    const [, rounds, slots, height, width] = attention.shape;
    const known = component.slot < slots;
    this.stripTitle.textContent = known
      ? `Attention of ${this.name(component)} in each iteration (white: all of a place is its own)`
      : `${this.name(component)} has no attention.`;
    this.strip.replaceChildren();
    for (let round = 0; known && round < rounds; round++) {
      const start = ((component.scene * rounds + round) * slots + component.slot) * height * width;
      const canvas = make("canvas");
      paint(canvas, height, width, (pixel, rgb) => rgb.fill(attention.data[start + pixel]));
      canvas.setAttribute("role", "img");
      const caption = `iteration ${round + 1}`;
      canvas.setAttribute("aria-label", `Attention of ${this.name(component)}, ${caption}`);
      this.strip.append(make("figure", {}, canvas, make("figcaption", { textContent: caption })));
    }
  }

  drawInput(c) {
    const [, height, width] = this.run.arrays.images.shape;
    paint(this.views.input, height, width, (pixel, rgb) => {
      this.input(pixel, rgb);
      if (c === null) return;
      // Others fade, on black and on white ground alike.
      const weight = this.weight(c, this.at(pixel, height, width));
      for (let i = 0; i < 3; i++) rgb[i] = weight * rgb[i] + (1 - weight) * (90 + 0.15 * rgb[i]);
    });
    const seen = c === null ? "input" : `input where ${this.name(this.components[c])} is`;
    this.views.input.setAttribute("aria-label", `${this.title}, ${seen}`);
  }

  drawPart(canvas, c) {
    // A slot's drawing where it shows, on a checkerboard; its mask where there is no drawing.
    const { parts } = this.run.arrays;
    const unit = 255 * this.run.partStep;
    const start = this.start(this.components[c]);
    const side = Math.max(1, Math.floor(Math.max(this.height, this.width) / 16));
    paint(canvas, this.height, this.width, (pixel, rgb) => {
      const weight = this.weight(c, pixel);
      const square = Math.floor(pixel / this.width / side) + Math.floor((pixel % this.width) / side);
      const board = square % 2 ? 255 : 219;
      for (let i = 0; i < 3; i++) {
        const own = parts ? parts.data[3 * (start + pixel) + i] * unit : 0;
        rgb[i] = weight * own + (1 - weight) * board;
      }
    });
  }

  tinted(canvas, height, width, owners, colors, numbers) {
    // The input in grey under the owners' colours, large enough for numbers to be read.
    const [, rows, columns] = this.run.arrays.images.shape;
    const factor = Math.ceil(320 / Math.max(rows, columns));
    const seen = [0, 0, 0];
    paint(canvas, rows * factor, columns * factor, (pixel, rgb) => {
      const row = Math.floor(pixel / (columns * factor) / factor);
      const column = Math.floor((pixel % (columns * factor)) / factor);
      this.input(row * columns + column, seen);
      const grey = 0.299 * seen[0] + 0.587 * seen[1] + 0.114 * seen[2];
      const y = Math.floor(((row + 0.5) * height) / rows);
      const color = colors[owners[y * width + Math.floor(((column + 0.5) * width) / columns)]];
      for (let i = 0; i < 3; i++) {
        rgb[i] = color ? 0.25 * grey + 0.75 * color[i] * (0.6 + (0.4 * grey) / 255) : grey;
      }
    });
    const pen = canvas.getContext("2d");
    const size = Math.round(Math.max(canvas.height, canvas.width) * 0.09);
    Object.assign(pen, { textAlign: "center", textBaseline: "middle", lineWidth: size / 5 });
    Object.assign(pen, { font: `bold ${size}px sans-serif`, strokeStyle: "#000", fillStyle: "#fff" });
    numbers.forEach((text, owner) => {
      const place = middle(owners, owner, width);
      if (place < 0) return;
      const x = (((place % width) + 0.5) * canvas.width) / width;
      const y = ((Math.floor(place / width) + 0.5) * canvas.height) / height;
      pen.strokeText(text, x, y);
      pen.fillText(text, x, y);
    });
  }

  drawSlots() {
    const { colors, background } = this.run;
    const list = this.components;
    const shown = list.map(({ slot }) => (slot === background ? null : channels(colors[slot])));
    const numbers = list.map(({ scene, slot }) =>
      slot === background ? "" : slot + (scene === this.number ? "" : "′"),
    );
    const { slots } = this.views;
    this.tinted(slots, this.height, this.width, this.owners, shown, numbers);
    const on = list.filter((component) => component.on).map((component) => this.name(component));
    slots.setAttribute("aria-label", `${this.title}, who owns which pixel; on: ${on.join(", ")}`);
  }

  drawTruth() {
    const { shape, data } = this.run.arrays.truth;
    const [, height, width] = shape;
    const labels = data.subarray(this.number * height * width, (this.number + 1) * height * width);
    const colors = [null, ...this.run.palette.map(channels)];
    this.tinted(this.views.truth, height, width, labels, colors, []);
    this.views.truth.setAttribute("aria-label", `${this.title}, true objects`);
  }
}

function middle(owners, owner, width) {
  // The owner's pixel that is nearest to the middle of all its pixels; -1 where it has none.
  const own = [];
  owners.forEach((found, place) => found === owner && own.push(place));
  if (!own.length) return -1;
  const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;
  const y = mean(own.map((place) => Math.floor(place / width)));
  const x = mean(own.map((place) => place % width));
  const far = (place) => (Math.floor(place / width) - y) ** 2 + ((place % width) - x) ** 2;
  return own.reduce((best, place) => (far(place) < far(best) ? place : best));
}

async function show() {
  const root = document.getElementById("gallery");
  if (typeof DecompressionStream === "undefined") {
    root.textContent = "This browser is too old for the gallery (it lacks DecompressionStream).";
    return;
  }
  const told = JSON.parse(document.getElementById("gallery-data").textContent);
  const runs = await Promise.all(told.map(unpack));
  root.replaceChildren();
  const length = Math.max(...runs.map((run) => run.arrays.images.shape[0]));
  for (let number = 0; number < length; number++) {
    const row = make("div", { className: runs.length > 1 ? "row two" : "row" });
    runs.forEach((run, which) => {
      run.number = which;
      if (number >= run.arrays.images.shape[0]) return;
      const title = `Scene ${number + 1}` + (runs.length > 1 ? `, ${run.name}` : "");
      run.scenes.push(new Scene(run, number, title));
      row.append(run.scenes[number].element);
    });
    root.append(row);
  }
  root.dataset.ready = "true";
}

show();
