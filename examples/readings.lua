-- An API before a store: what comes in is checked, what goes out is streamed while it is fetched,
-- a page at a time, as whatever the client asks for.  Start the store first:
-- build/tidegate run examples/store.lua --listen 127.0.0.1:9003 &
-- Then try:
-- curl --json '{"gauge":"dover","metres":1.5}' http://127.0.0.1:8080/readings
-- curl -d gauge=calais -d metres=2.25 http://127.0.0.1:8080/readings
-- curl --json '{"gauge":"","metres":"high"}' http://127.0.0.1:8080/readings
-- curl http://127.0.0.1:8080/readings
-- curl -H 'Accept: text/csv' http://127.0.0.1:8080/readings
-- curl -H 'Accept: application/x-ndjson' http://127.0.0.1:8080/readings?gauge=dover

local tg = require("tidegate")

local STORE = os.getenv("STORE") or "http://127.0.0.1:9003"
local PAGE = 50

--- What is wrong with a field goes here, by its name: all of it is told at once.
local function check(reading)
  local problems = {}
  if type(reading.gauge) ~= "string" or not reading.gauge:find("^%l[%l%d-]*$") then
    problems.gauge = "a name of lower-case letters, digits and hyphens"
  end
  local metres = tonumber(reading.metres)
  if not metres or metres < -20 or metres > 20 then
    problems.metres = "a number from -20 to 20"
  end
  if next(problems) then
    tg.error(422, "the reading is not valid", { problems = problems })
  end
  return { gauge = reading.gauge, metres = metres, at = math.floor(tg.now()) }
end

--- Says what was wrong, as RFC 9457 has it. Of failures inside the gateway no more than the status.
local problem = tg.on_error({
  name = "problem",
  match = function(err) return err.status < 500 end,
  handle = function(_, err)
    return {
      status = err.status,
      headers = { ["Content-Type"] = "application/problem+json" },
      body = { status = err.status, title = err.message, problems = err.value.problems },
    }
  end,
})

local function add(request)
  local params = request.body_params
  if type(params) ~= "table" then
    tg.error(400, "a reading is an object or a form")
  end
  return tg.fetch(STORE .. "/rows", { method = "POST",
    headers = { ["Content-Type"] = "application/json" }, body = check(params) })
end

local function page_after(id)
  local response, _, failure = tg.fetch(("%s/rows?after=%d&limit=%d"):format(STORE, id, PAGE))
  if not response then
    error(failure, 0)
  elseif response.status ~= 200 then
    tg.error(502, "the store says " .. response.status)
  end
  return tg.json.decode(response.body:all()) or tg.error(502, "the store says what is no JSON")
end

--- All rows, one after the other. A page is fetched when its first row is wanted: by a client that
--- reads slowly the store is asked slowly, and by one that leaves no more.
local function readings(gauge)
  return tg.generate(function(yield)
    local after = 0
    repeat
      local page = page_after(after)
      for _, row in ipairs(page.rows) do
        if not gauge or row.gauge == gauge then
          yield(row)
        end
      end
      after = page.next
    until after == tg.json.null
  end)
end

local function list(request)
  return { body = readings(request.query.gauge) }
end

return {
  listen = "127.0.0.1:8080",
  interceptors = { problem },
  routes = {
    { "/readings", interceptors = { tg.body_params() }, get = list, post = add },
  },
}
