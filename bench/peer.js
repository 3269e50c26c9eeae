// peer.js - what node's http module does with the benchmark's requests.
"use strict";
const http = require("http");
const fs = require("fs");

const rows = [];
for (let i = 1; i <= 100000; i++)
  rows.push({ id: i, name: "row number " + i, price: i / 4, active: i % 2 === 0, tags: ["a", "b"] });

// Writes what next() gives, up to its end, as fast as the client reads.
function pump(response, next) {
  for (let piece = next(); piece !== undefined; piece = next())
    if (!response.write(piece)) {
      response.once("drain", () => pump(response, next));
      return;
    }
  response.end();
}

const routes = {
  "/small": (request, response) => {
    response.writeHead(200, { "Content-Type": "text/plain", "Content-Length": 12 });
    response.end("hello world\n");
  },
  "/stream": (request, response, query) => {
    const piece = Buffer.alloc(Number(query.get("size")), "x");
    let left = Number(query.get("bytes")) / piece.length;
    pump(response, () => (left-- > 0 ? piece : undefined));
  },
  "/rows-encoded": (request, response) => {
    response.writeHead(200, { "Content-Type": "application/json" });
    response.end(JSON.stringify(rows));
  },
  "/sequence": (request, response) => {
    response.writeHead(200, { "Content-Type": "application/x-ndjson" });
    let i = 0;
    pump(response, () => (i < rows.length ? JSON.stringify(rows[i++]) + "\n" : undefined));
  },
  "/upload": (request, response) => {
    let bytes = 0;
    request.on("data", (chunk) => (bytes += chunk.length));
    request.on("end", () => response.end(String(bytes)));
  },
  "/echo": (request, response) => request.pipe(response),
  "/file": (request, response) => fs.createReadStream(process.env.BENCH_DIR + request.url.split("?")[0]).pipe(response),
};

http
  .createServer({ keepAliveTimeout: 60000 }, (request, response) => {
    const url = new URL(request.url, "http://bench");
    const route = routes[url.pathname] || (url.pathname.startsWith("/file") && routes["/file"]);
    if (!route) return response.writeHead(404).end();
    route(request, response, url.searchParams);
  })
  .listen(Number(process.argv[2]), "127.0.0.1");
