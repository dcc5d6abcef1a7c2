-- Counts words, and insists on the result.
local text = "a river in winter becomes an esker: a river of gravel, a river of stone"
local counts = {}
for word in text:gmatch("%a+") do counts[word] = (counts[word] or 0) + 1 end

assert(counts.river == 3, "three rivers")
assert(counts.a == 3 and counts.esker == 1)

local words = {}
for word in pairs(counts) do words[#words + 1] = word end
table.sort(words)
for _, word in ipairs(words) do print(word, counts[word]) end
