--- What bench/workers asks for: handlers that compute, one that waits, and a counter of all workers.
local tg = require("tidegate")

local worker
local hits = tg.shared("hits")

local function compute(request)
  local n = 0
  for i = 1, math.tointeger(request.query.n) do
    n = n + i % 7
  end
  return { body = n .. "\n" }
end

return {
  limits = { script = 60 },
  on_start = function(gateway) worker = gateway.worker end,
  routes = {
    { "/compute", get = compute },
    { "/worker", get = function() return { body = worker .. "\n" } end },
    { "/spin", get = function()
      while true do end
    end },
    --- A number every 20 ms: who reads it sees by how much each was late.
    { "/ticks", get = function()
      return { body = function(out)
        for i = 1, 100 do
          tg.sleep(0.02)
          out:write(i, "\n")
          out:flush()
        end
      end }
    end },
    { "/incr", get = function(request)
      for _ = 1, math.tointeger(request.query.n) do
        hits:incr("n")
      end
      return { body = "" }
    end },
  },
}
