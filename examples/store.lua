-- A store of rows, as a database behind examples/readings.lua: it gives them a page at a time.

local tg = require("tidegate")

local PAGE_MAX = 100

local rows = tg.shared("rows") -- a row as JSON under its number; all workers have them in common

local function add(request)
  local id = rows:incr("last")
  local row = request.body_params
  row.id = id
  rows:set("row " .. id, tg.json.encode(row))
  return { status = 201, body = row }
end

--- Rows after the one with the id `after`, and the id to go on after: null at the end.
local function page(request)
  local after = math.tointeger(request.query.after) or 0
  local limit = math.min(math.tointeger(request.query.limit) or PAGE_MAX, PAGE_MAX)
  local last = rows:get("last") or 0
  local list = tg.json.array({})
  for id = after + 1, math.min(after + limit, last) do
    local row = rows:get("row " .. id)
    if not row then
      last = id -- another worker is about to write it
      break
    end
    list[#list + 1] = tg.json.decode(row)
  end
  local up_to = after + #list
  return { body = { rows = list, next = up_to < last and up_to or tg.json.null } }
end

return {
  listen = "127.0.0.1:9003",
  routes = {
    { "/rows", interceptors = { tg.body_params() }, get = page, post = add },
  },
}
