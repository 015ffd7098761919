package pipeline

import (
	"bufio"
	"os"
	"runtime"
	"strconv"
	"strings"
)

// CPU names the processor, from /proc/cpuinfo where there is one.
func CPU() string {
	if name := procValue("/proc/cpuinfo", "model name"); name != "" {
		return name
	}
	return runtime.GOARCH
}

// memory is the machine's memory in bytes, 0 where it is not known.
func memory() int64 {
	kib, err := strconv.ParseInt(strings.TrimSuffix(procValue("/proc/meminfo", "MemTotal"), " kB"), 10, 64)
	if err != nil {
		return 0
	}
	return kib << 10
}

// procValue returns the first value of a key in a file of lines "key: value".
func procValue(path, key string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	for s.Scan() {
		k, value, ok := strings.Cut(s.Text(), ":")
		if ok && strings.TrimSpace(k) == key {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
