-- formats_spec.lua - generated values in every format, read back by another implementation of each.

local body = require("probe_body")
local cjson = require("cjson")
local edn = require("edn")
local harness = require("harness")
local probe = require("probe_print")

local SEEDS = 200

-- A generator of numbers from 1 to n that is the same everywhere.
local function random_from(seed)
  local state = seed * 2654435761
  return function(n)
    state = (state * 6364136223846793005 + 1442695040888963407) & math.maxinteger
    return (state >> 33) % n + 1
  end
end

local PIECES = { "a", "b", "é", "\u{1f30a}", "\n", "\r\n", "\r", '"', '""', "\\", ",", ";", "\t", "\0", "\1", "\127", " ", "/",
  ":", "#", "-", "1", "=1+1", "'", "{", "}", "[", "nil", "true", ("x"):rep(40), ("long "):rep(9000) }

local function text_of(random, most)
  local parts = {}
  for i = 1, random(most) - 1 do
    parts[i] = PIECES[random(random(40) == 1 and #PIECES or #PIECES - 1)]
  end
  return table.concat(parts)
end

local function number_of(random)
  local kind = random(5)
  if kind == 1 then return random(2000) - 1000 end
  if kind == 2 then return (random(1 << 30) << 33) ~ random(1 << 30) end
  if kind == 3 then return (random(2000000) - 1000000) / 1000.0 end
  if kind == 4 then return (random(1 << 30) - (1 << 29)) * 2.0 ^ (random(600) - 300) end
  return random(100) + 0.0
end

local function value_of(random, depth, null)
  local kind = random(depth > 0 and 8 or 5)
  if kind == 1 then return text_of(random, 6) end
  if kind == 2 or kind == 3 then return number_of(random) end
  if kind == 4 then return random(2) == 1 end
  if kind == 5 then return null end
  local value = {}
  for i = 1, random(5) - 1 + (random(20) == 1 and 25 or 0) do
    if kind == 6 then
      value[i] = value_of(random, depth - 1, null)
    else
      value["k" .. text_of(random, 3)] = value_of(random, depth - 1, null)
    end
  end
  return value
end

-- Lua for a value; sequences now and then in the place of lists.
local function code_of(value, null, random)
  if value == null then return "tg.json.null" end
  if type(value) ~= "table" then return ("%q"):format(value) end
  local parts = {}
  for k, v in pairs(value) do
    local key = type(k) == "string" and ("[%q]="):format(k) or ""
    if key ~= "" or not value[1] then parts[#parts + 1] = key .. code_of(v, null, random) end
  end
  for i, v in ipairs(value) do parts[i] = code_of(v, null, random) end
  local list = "{" .. table.concat(parts, ",") .. "}"
  if value[1] == nil or random(3) > 1 then return list end
  if random(2) == 1 then return ("(function(l) local i = 0 return tg.seq(function() i = i + 1 return l[i] end) end)(%s)"):format(list) end
  return ("(function(l) return tg.generate(function(y) for i = 1, #l do y(l[i]) end end) end)(%s)"):format(list)
end

local function print_as(type, code)
  local p = probe.new()
  local result, message = p:run("return " .. code, { as = type, high_water = 1 << 40 })
  assert.same({ "done", "" }, { result, message })
  return p:output()
end

-- Nothing of what Lua cannot tell apart counts: an empty map prints as an empty list.
local function same(a, b)
  if type(a) ~= "table" or type(b) ~= "table" then
    return a == b and math.type(a) == math.type(b)
  end
  for k, v in pairs(a) do
    if not same(v, b[k]) then return false end
  end
  for k in pairs(b) do
    if a[k] == nil then return false end
  end
  return true
end

local function check_each(null, check)
  for seed = 1, SEEDS do
    local random = random_from(seed)
    local value = { value_of(random, 4, null), value_of(random, 2, null) }
    local fine, why = pcall(check, value, code_of(value, null, random))
    assert(fine, ("seed %d: %s"):format(seed, tostring(why)))
  end
end

describe("a generated value", function()
  it("reads back equal from JSON by lua-cjson (B17)", function()
    local function as_float(value)
      if type(value) ~= "table" then return math.type(value) == "integer" and value + 0.0 or value end
      local copy = {}
      for k, v in pairs(value) do copy[k] = as_float(v) end
      return copy
    end
    check_each(cjson.null, function(value, code)
      assert(same(as_float(value), cjson.decode(print_as("application/json", code))), "differs: " .. code:sub(1, 300))
    end)
  end)

  it("reads back equal from each line of ndjson (B27)", function()
    check_each(cjson.null, function(value, code)
      local lines = {}
      for line in print_as("application/x-ndjson", code):gmatch("([^\n]*)\n") do lines[#lines + 1] = line end
      assert(#lines == #value, #lines)
      assert("[" .. table.concat(lines, ",") .. "]" == print_as("application/json", code))
    end)
  end)

  it("reads back equal from EDN (B27)", function()
    check_each(edn.null, function(value, code)
      assert(same(value, edn.decode(print_as("application/edn", code))), "differs: " .. code:sub(1, 300))
    end)
  end)
end)

-- What Python's csv module reads in each of the texts: lists of rows.
local function read_by_python(texts)
  local path = os.tmpname()
  local file <close> = assert(io.open(path, "wb"))
  file:write(cjson.encode(texts))
  file:close()
  local process <close> = assert(harness.spawn({ "python3", "-c", [[
import csv, io, json, sys
csv.field_size_limit(1 << 24)
texts = json.load(open(sys.argv[1], encoding="utf-8"))
json.dump([list(csv.reader(io.StringIO(text, newline=""), strict=True)) for text in texts], sys.stdout)]], path },
    { stdout = "pipe", stderr = "pipe" }))
  local exit = process:wait(60)
  os.remove(path)
  assert(exit == 0, process:output("stderr"))
  return cjson.decode(process:output("stdout"))
end

-- A cell as Python has it: text.
local function cell_text(value)
  if value == cjson.null or value == nil then return "" end
  if type(value) == "number" then return body.format(value) end
  return tostring(value)
end

describe("generated rows", function()
  it("read back equal from CSV by Python (B27)", function()
    local texts, wanted = {}, {}
    for seed = 1, SEEDS do
      local random = random_from(seed)
      local columns, rows = {}, {}
      local maps = random(2) == 1
      for i = 1, random(6) do columns[i] = "c" .. i .. text_of(random, 3):gsub("%z", "") end
      table.sort(columns)
      wanted[seed] = maps and { columns } or {}
      for i = 1, random(30) do
        local row, cells = {}, {}
        for j, name in ipairs(columns) do
          local kind = random(6)
          local value = kind == 1 and cjson.null or kind == 2 and number_of(random) or kind == 3 and random(2) == 1
          if kind > 3 then value = text_of(random, 5):gsub("%z", "") end -- Python refuses NUL
          cells[j] = cell_text(value)
          row[maps and name or j] = value
        end
        if maps and random(3) == 1 and i > 1 then
          row[columns[1]], cells[1] = nil, ""
        end
        rows[i], wanted[seed][#wanted[seed] + 1] = row, cells
      end
      texts[seed] = print_as("text/csv", code_of(rows, cjson.null, function() return 3 end))
    end
    for seed, read in ipairs(read_by_python(texts)) do
      assert(same(wanted[seed], read), ("seed %d: %s"):format(seed, texts[seed]:sub(1, 300)))
    end
  end)
end)
