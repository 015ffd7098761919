package cli

import (
	"fmt"
	"os"
	"runtime"

	"github.com/spf13/cobra"
	"gocv.io/x/gocv"

	"yoloprune/cmd/yoloprune/internal/pipeline"
	"yoloprune/cmd/yoloprune/internal/term"
	"yoloprune/yolo/engine/onednn"
)

func (a *app) doctorCommand() *cobra.Command {
	return &cobra.Command{
		Use: "doctor", Short: "Check the machine: libraries, kernels, a trial run of the engine", Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			rows := [][]string{
				{"yoloprune", pipeline.Version()},
				{"go", runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH},
				{"processor", fmt.Sprintf("%s, %d cores", pipeline.CPU(), runtime.NumCPU())},
				{"oneDNN", onednn.Version()},
				{"OpenCV", gocv.OpenCVVersion()},
				{"threads", fmt.Sprint(onednn.SetThreads(0))},
				{"activations", onednn.BestOrder().String()},
			}
			if v := os.Getenv("OMP_NUM_THREADS"); v != "" {
				rows = append(rows, []string{"OMP_NUM_THREADS", v})
			}
			trial, err := pipeline.Trial()
			if err != nil {
				return fmt.Errorf("trial of the engine: %w", err)
			}
			rows = append(rows, []string{"trial", trial})
			return term.Table(a.out, []string{"what", "found"}, rows)
		},
	}
}
