-- What the benchmarks ask tidegate for.
local tg = require("tidegate")

local pieces = {}

local function piece(size)
  pieces[size] = pieces[size] or ("x"):rep(size)
  return pieces[size]
end

local function small()
  return { status = 200, body = "hello world\n", headers = { ["Content-Type"] = "text/plain" } }
end

local function stream(request)
  local size = math.tointeger(request.query.size)
  local text, count = piece(size), math.tointeger(request.query.bytes) // size
  return {
    body = function(out)
      for _ = 1, count do
        out:write(text)
      end
    end,
  }
end

local function range(request)
  local limit = math.tointeger(request.query.limit)
  return {
    body = tg.generate(function(yield)
      for i = 0, limit - 1 do
        yield(i)
      end
    end),
  }
end

local function idle()
  return {
    body = tg.generate(function(yield)
      yield(1)
      tg.wait(function() end)
    end),
  }
end

local function idle_function()
  return {
    body = function(out)
      out:write("1")
      tg.wait(function() end)
    end,
  }
end

local dir = os.getenv("BENCH_DIR") or "/nowhere"

local function send(path, options)
  return function()
    return { body = tg.file(path, options) }
  end
end

-- A hundred thousand rows, made once.
local rows

local function table_of_rows()
  if not rows then
    rows = {}
    for i = 1, 100000 do
      rows[i] = { id = i, name = "row number " .. i, price = i / 4, active = i % 2 == 0, tags = { "a", "b" } }
    end
  end
  return rows
end

local function rows_printed()
  return { headers = { ["Content-Type"] = "application/json" }, body = table_of_rows() }
end

local function rows_encoded()
  local text = require("cjson").encode(table_of_rows())
  return { headers = { ["Content-Type"] = "application/json" }, body = text }
end

local function sequence()
  local list = table_of_rows()
  return {
    headers = { ["Content-Type"] = "application/x-ndjson" },
    body = tg.generate(function(yield)
      for i = 1, #list do
        yield(list[i])
      end
    end),
  }
end

local function upload(request)
  local bytes = 0
  for chunk in request.body:chunks() do
    bytes = bytes + #chunk
  end
  return { body = tostring(bytes) }
end

local asleep = 0

local function sleep()
  asleep = asleep + 1
  tg.sleep(1000)
end

local idle_sse = tg.sse(function(events)
  events:send(1)
  tg.wait(function() end)
end)

local function pass() end

local function chain(count)
  local list = {}
  for i = 1, count do
    list[i] = { name = "i" .. i, enter = pass, leave = pass }
  end
  list[count + 1] = small
  return list
end

return {
  limits = { connections = 20000, script = 0, body_bytes = 0 },
  routes = {
    { "/small", get = small },
    { "/small3", get = chain(3) },
    { "/small10", get = chain(10) },
    { "/stream", get = stream },
    { "/range", get = range },
    { "/file", get = send(dir .. "/file") },
    { "/file-read", get = send(dir .. "/file", { sendfile = false }) },
    { "/file4", get = send(dir .. "/file4") },
    { "/file1m", get = send(dir .. "/file1m") },
    { "/rows", get = rows_printed },
    { "/rows-encoded", get = rows_encoded },
    { "/sequence", get = sequence },
    { "/upload", post = upload },
    { "/echo", post = function(request) return { body = request.body } end },
    { "/idle", get = idle },
    { "/idle-function", get = idle_function },
    { "/idle-sse", get = idle_sse },
    { "/sleep", get = sleep },
    { "/asleep", get = function() return { body = tostring(asleep) } end },
  },
}
