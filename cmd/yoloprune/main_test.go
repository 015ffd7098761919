package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"yoloprune": main})
}

// The scripts run the real command. Beside testscript's own commands they have
//
//	exitcode N COMMAND ...           run it; it must end with exit code N and say why in one message
//	signal INT|TERM|KILL FILE        once FILE is there, signal the background commands
//	ended N                          after wait: the signalled command had exit code N
//	[!] json FILE PATH [REGEXP]      the value at PATH, such as stages.0.name, is there and matches as a whole
//	near FILE PATH NUMBER            the value at PATH is within 1e-9 of NUMBER
//	keys FILE PATH KEY ...           the object at PATH ("." for the whole) has exactly these keys
//	detector DIR                     write a network that finds white images (see detector_test.go)
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("OMP_WAIT_POLICY", "PASSIVE")
			e.Setenv("SHARED", shared())
			e.Values[signalledKey] = &signalled{}
			return nil
		},
		Condition: func(cond string) (bool, error) {
			paths := map[string]string{
				"shared":  filepath.Join(shared(), "datasets", "cocoeval-fakebbox100"),
				"devfull": "/dev/full",
			}
			path, ok := paths[cond]
			if !ok {
				return false, fmt.Errorf("unknown condition %q", cond)
			}
			_, err := os.Stat(path)
			return err == nil, nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exitcode": exitCode,
			"signal":   sendSignal,
			"ended":    ended,
			"json":     checkJSON,
			"near":     checkNear,
			"keys":     checkKeys,
			"detector": writeDetector,
		},
	})
}

// shared is the folder of reference data beside the repository.
func shared() string {
	if dir := os.Getenv("YOLOPRUNE_SHARED"); dir != "" {
		return dir
	}
	dir, err := filepath.Abs("../../../shared")
	if err != nil {
		return ""
	}
	return dir
}

// need ends a script where a custom command is called wrongly.
func need(ts *testscript.TestScript, ok bool, usage string) {
	if !ok {
		ts.Fatalf("usage: %s", usage)
	}
}

var stack = regexp.MustCompile(`(?m)^(goroutine \d+|panic:|fatal error:)`)

func exitCode(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) > 1, "exitcode N COMMAND ...")
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) {
		ts.Fatalf("%v", err)
	}
	got := 0
	if failed != nil {
		got = failed.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
	text := ts.ReadFile("stderr")
	if stack.MatchString(text) {
		ts.Fatalf("a stack trace reached the user")
	}
	if n := strings.Count("\n"+text, "\nyoloprune: "); want != 0 && n != 1 {
		ts.Fatalf("%d messages of the command on standard error, want 1", n)
	}
}

// key names a value that a script keeps.
type key string

const signalledKey key = "signalled"

// signalled are the commands that a script has sent a signal to.
type signalled struct{ cmds []*exec.Cmd }

func sendSignal(ts *testscript.TestScript, neg bool, args []string) {
	signals := map[string]os.Signal{"INT": syscall.SIGINT, "TERM": syscall.SIGTERM, "KILL": syscall.SIGKILL}
	need(ts, !neg && len(args) == 2 && signals[args[0]] != nil, "signal INT|TERM|KILL FILE")
	file := ts.MkAbs(args[1])
	for range 6000 {
		if _, err := os.Stat(file); err == nil {
			s := ts.Value(signalledKey).(*signalled)
			s.cmds = ts.BackgroundCmds()
			for _, c := range s.cmds {
				ts.Check(c.Process.Signal(signals[args[0]]))
			}
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	ts.Fatalf("%s did not appear in a minute", file)
}

func ended(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) == 1, "ended N")
	for _, c := range ts.Value(signalledKey).(*signalled).cmds {
		if got := strconv.Itoa(c.ProcessState.ExitCode()); got != args[0] {
			ts.Fatalf("exit code %s, want %s", got, args[0])
		}
	}
}

// at returns the value at a dotted path of a JSON file.
func at(ts *testscript.TestScript, file, path string) (any, bool) {
	var v any
	if err := json.Unmarshal([]byte(ts.ReadFile(file)), &v); err != nil {
		ts.Fatalf("%s: %v", file, err)
	}
	if path == "." {
		return v, true
	}
	for _, key := range strings.Split(path, ".") {
		switch x := v.(type) {
		case map[string]any:
			in, ok := x[key]
			if !ok {
				return nil, false
			}
			v = in
		case []any:
			i, err := strconv.Atoi(key)
			if err != nil || i < 0 || i >= len(x) {
				return nil, false
			}
			v = x[i]
		default:
			return nil, false
		}
	}
	return v, true
}

func checkJSON(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, len(args) == 2 || len(args) == 3, "[!] json FILE PATH [REGEXP]")
	v, ok := at(ts, args[0], args[1])
	text, err := json.Marshal(v)
	ts.Check(err)
	if ok && len(args) == 3 {
		ok = regexp.MustCompile(`^(?:` + args[2] + `)$`).Match(text)
	}
	if ok == neg {
		ts.Fatalf("%s: %s is %s", args[0], args[1], text)
	}
}

func checkNear(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) == 3, "near FILE PATH NUMBER")
	v, _ := at(ts, args[0], args[1])
	want, err := strconv.ParseFloat(args[2], 64)
	ts.Check(err)
	if got, ok := v.(float64); !ok || !(math.Abs(got-want) <= 1e-9) {
		ts.Fatalf("%s: %s is %v, want %v", args[0], args[1], v, want)
	}
}

func checkKeys(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) > 2, "keys FILE PATH KEY ...")
	v, _ := at(ts, args[0], args[1])
	object, ok := v.(map[string]any)
	if !ok {
		ts.Fatalf("%s: %s is not an object", args[0], args[1])
	}
	want := map[string]bool{}
	for _, k := range args[2:] {
		want[k] = true
		if _, ok := object[k]; !ok {
			ts.Fatalf("%s: %s has no %q", args[0], args[1], k)
		}
	}
	for k := range object {
		if !want[k] {
			ts.Fatalf("%s: %s has %q, which is not expected", args[0], args[1], k)
		}
	}
}
