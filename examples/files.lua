-- Files, folders and what processes print.  Try:
-- curl http://127.0.0.1:8080/docs/bodies.md
-- curl -r 0-99 http://127.0.0.1:8080/docs/bodies.md
-- curl -r 0-9,50-59,-10 http://127.0.0.1:8080/docs/bodies.md
-- curl http://127.0.0.1:8080/docs/
-- curl -H 'Accept: application/json' http://127.0.0.1:8080/docs/
-- curl -OJ http://127.0.0.1:8080/save
-- curl http://127.0.0.1:8080/handle
-- curl -N http://127.0.0.1:8080/process

local tg = require("tidegate")

local here = debug.getinfo(1, "S").source:match("^@(.*/)") or "./"
local docs = tg.files(here .. "../docs", { listing = true, cache_control = 60 })

--- One file, under a name of its own.
local function save()
  return { body = tg.file(here .. "files.lua", { download = "tide tables.lua" }) }
end

--- An open file is copied from where it stands, and closed.
local function handle()
  local file = assert(io.open(here .. "files.lua"))
  file:read("l")
  return { headers = { ["Content-Type"] = "text/plain; charset=utf-8" }, body = file }
end

--- What a process prints goes out as it prints it; nobody waits for it but this client.
local function process()
  local ticks = io.popen("for i in 1 2 3; do echo tide $i; sleep 0.3; done")
  return { headers = { ["Content-Type"] = "text/plain; charset=utf-8" }, body = ticks }
end

return {
  listen = "127.0.0.1:8080",
  routes = {
    { "/docs/", get = docs },
    { "/docs/*path", get = docs },
    { "/save", get = save },
    { "/handle", get = handle },
    { "/process", get = process },
  },
}
