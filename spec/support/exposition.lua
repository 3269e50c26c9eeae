-- exposition.lua - a strict reader of the text format that Prometheus scrapes (version 0.0.4): every
-- line has to be one that it defines, every sample to belong to the metric above it, once.
--
--   local metrics = exposition.parse(text)  -- or an error that quotes the line
--   exposition.value(metrics, "tidegate_waits_total", { worker = "1" })
local exposition = {}

local KINDS = { counter = true, gauge = true, histogram = true, summary = true, untyped = true }
local NAME = "[%a_:][%w_:]*"

local function refuse(line, why) error(("%s: %q"):format(why, line), 0) end

-- The labels in { … } from position `at` on, behind its brace: a map, and where they end.
local function parse_labels(line, at)
  local labels = {}
  while true do
    if line:sub(at, at) == "}" then return labels, at + 1 end
    local name, from = line:match('^([%a_][%w_]*)="()', at)
    if not name then refuse(line, "no label") end
    if labels[name] then refuse(line, "a label twice") end
    local value = {}
    at = from
    while line:sub(at, at) ~= '"' do
      local char = line:sub(at, at)
      if char == "" then refuse(line, "a label's value has no end") end
      if char == "\\" then
        char = ({ ["\\"] = "\\", ['"'] = '"', n = "\n" })[line:sub(at + 1, at + 1)]
        if not char then refuse(line, "an unknown escape") end
        at = at + 1
      end
      value[#value + 1], at = char, at + 1
    end
    labels[name] = table.concat(value)
    at = at + 1
    if line:sub(at, at) == "," then
      at = at + 1
    elseif line:sub(at, at) ~= "}" then
      refuse(line, "no comma between labels")
    end
  end
end

local function parse_number(line, text)
  local special = { ["+Inf"] = math.huge, ["-Inf"] = -math.huge, NaN = 0 / 0 }
  local number = special[text] or (text:find("^-?[%d.]+[eE]?[+-]?%d*$") and tonumber(text))
  return number or refuse(line, "no number")
end

local function key_of(name, labels)
  local parts = {}
  for label, value in pairs(labels) do parts[#parts + 1] = ("%s=%q"):format(label, value) end
  table.sort(parts)
  return name .. "{" .. table.concat(parts, ",") .. "}"
end

-- The samples of a histogram go up, and its count is its last bucket's.
local function check_histogram(metric)
  local series = {}
  for _, sample in ipairs(metric.samples) do
    local labels = {}
    for label, value in pairs(sample.labels) do labels[label] = label ~= "le" and value or nil end
    local one = series[key_of("", labels)] or { buckets = {} }
    series[key_of("", labels)] = one
    local suffix = sample.name:sub(#metric.name + 1)
    if suffix == "_bucket" then
      local le = parse_number(metric.name, sample.labels.le)
      local last = one.buckets[#one.buckets]
      if last and (le <= last.le or sample.value < last.value) then
        refuse(metric.name, "buckets that do not go up")
      end
      one.buckets[#one.buckets + 1] = { le = le, value = sample.value }
    else
      one[suffix] = sample.value
    end
  end
  for _, one in pairs(series) do
    local last = one.buckets[#one.buckets]
    if not last or last.le ~= math.huge or last.value ~= one._count or not one._sum then
      refuse(metric.name, "a histogram without its end")
    end
  end
end

local function belongs(metric, name)
  if name == metric.name then return metric.kind ~= "histogram" end
  local suffix = name:sub(1, #metric.name) == metric.name and name:sub(#metric.name + 1)
  return metric.kind == "histogram"
    and (suffix == "_bucket" or suffix == "_sum" or suffix == "_count")
end

local function parse_sample(line, metric, seen)
  local name, at = line:match("^(" .. NAME .. ")()")
  if not name then refuse(line, "no sample") end
  if not (metric and metric.kind and belongs(metric, name)) then
    refuse(line, "a sample outside of its metric")
  end
  local labels = {}
  if line:sub(at, at) == "{" then labels, at = parse_labels(line, at + 1) end
  local value = parse_number(line, line:match("^ (%S+)$", at) or refuse(line, "no value"))
  if metric.kind == "counter" and (value < 0 or value ~= value) then refuse(line, "a counter below zero") end
  local key = key_of(name, labels)
  if seen[key] then refuse(line, "a series twice") end
  seen[key] = true
  metric.samples[#metric.samples + 1] = { name = name, labels = labels, value = value }
end

-- A map from names to { name, kind, help, samples = { { name, labels, value } … } }.
function exposition.parse(text)
  local metrics, seen, metric = {}, {}, nil
  if not utf8.len(text) then error("no UTF-8", 0) end
  if text:sub(-1) ~= "\n" then error("the last line has no end", 0) end
  for line in text:gmatch("([^\n]*)\n") do
    local help_of, help = line:match("^# HELP (" .. NAME .. ") (.+)$")
    local type_of, kind = line:match("^# TYPE (" .. NAME .. ") (%l+)$")
    if help_of then
      if metrics[help_of] then refuse(line, "a metric twice") end
      metric = { name = help_of, help = help, samples = {} }
      metrics[help_of] = metric
    elseif type_of then
      if not metric or metric.name ~= type_of or metric.kind or not KINDS[kind] then
        refuse(line, "a type that is out of place")
      end
      metric.kind = kind
    else
      parse_sample(line, metric, seen)
    end
  end
  for _, one in pairs(metrics) do
    if one.kind == "histogram" then check_histogram(one) end
  end
  return metrics
end

-- The value of the only sample with these labels, and perhaps others; nil when there is none.
function exposition.value(metrics, name, labels)
  local metric = metrics[name] or metrics[name:gsub("_%l+$", "")]
  local found
  for _, sample in ipairs(metric and metric.samples or {}) do
    local fits = sample.name == name
    for label, value in pairs(labels or {}) do fits = fits and sample.labels[label] == value end
    if fits and found then error(name .. " is more than one", 2) end
    if fits then found = sample.value end
  end
  return found
end

return exposition
