-- A dashboard: what the gateway does, told to every browser that looks, once a second.  Open
-- http://127.0.0.1:8080/ and let something ask for /work; with --watch, change TITLE and save: who
-- is connected stays so, and the next figures are the new script's.  Or:
-- curl -N http://127.0.0.1:8080/events
-- curl http://127.0.0.1:8080/work

local tg = require("tidegate")

local TITLE = "The gate"
local PAUSE = tonumber(os.getenv("PAUSE")) or 1 -- seconds

local figures = tg.topic("figures", { history = 60 })

--- What has happened since as many exchanges had ended as `before` says; and how many have by now.
local function figures_since(before)
  local stats = tg.stats()
  local ended = stats.exchanges.total - stats.exchanges.open
  return {
    title = TITLE,
    generation = stats.generation,
    open = stats.exchanges.open,
    rate = (ended - (before or ended)) / PAUSE,
    memory = stats.memory.heap,
    watching = figures:subscribers(),
  }, ended
end

--- One worker publishes for all of them, until the next generation of the script does. Streams that
--- are open then stay with the code that they began with, but follow the topic, which is the same.
local function on_start(gateway)
  if gateway.worker ~= 1 then
    return
  end
  tg.background(function()
    local data, ended = figures_since()
    while data.generation <= gateway.generation do
      figures:publish({ data = data })
      tg.sleep(PAUSE)
      data, ended = figures_since(ended)
    end
  end)
end

--- What is published from now on, and before that what a browser that comes back has missed.
local events = tg.sse(function(out)
  out:subscribe(figures)
end, { retry = 1000 })

local function work()
  tg.sleep(0.2)
  return { body = "done\n" }
end

local PAGE = [[
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Dashboard</title>
<style>
  body { font: 16px/1.5 system-ui, sans-serif; max-width: 30em; margin: 2em auto; }
  dt { color: #666; } dd { margin: 0 0 0.5em; font-size: 1.5em; }
</style>
<h1 id="title">…</h1>
<dl>
  <dt>exchanges open</dt><dd id="open"></dd>
  <dt>answers a second</dt><dd id="rate"></dd>
  <dt>memory, MiB</dt><dd id="memory"></dd>
  <dt>browsers watching</dt><dd id="watching"></dd>
  <dt>generation of the script</dt><dd id="generation"></dd>
</dl>
<script>
  new EventSource("/events").onmessage = event => {
    const figures = JSON.parse(event.data)
    figures.memory = (figures.memory / 2 ** 20).toFixed(1)
    for (const [name, value] of Object.entries(figures))
      document.getElementById(name).textContent = value
  }
</script>
]]

local function page()
  return { headers = { ["Content-Type"] = "text/html; charset=utf-8" }, body = PAGE }
end

return {
  listen = "127.0.0.1:8080",
  on_start = on_start,
  routes = {
    { "/", get = page },
    { "/events", get = events },
    { "/work", get = work },
  },
}
