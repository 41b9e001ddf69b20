# What people do with this repository. CI does the same through the scripts, without just.

set shell := ["bash", "-euo", "pipefail", "-c"]

# List the recipes
_default:
    @just --list --unsorted

# Start everything: private PostgreSQL, API, scheduler, runners
dev *arguments:
    cargo run -- dev {{ arguments }}

# Run all tests, or those whose name contains FILTER
test *filter:
    cargo test {{ filter }}

# Run the tests that take minutes, or those whose name contains FILTER
slow *filter:
    cargo test --test slow {{ filter }}

# Check format, clippy, shell, spelling
lint:
    scripts/lint

# Format everything
fmt:
    cargo fmt --all
    scripts/tools just --unstable --fmt

# Refresh .sqlx/ after a change of a statement or a migration
prepare:
    scripts/prepare

# Refresh openapi/openapi.json after a change of the interface
openapi:
    scripts/openapi

# Refresh deploy/orchestrator.env after a change of a setting
env-file:
    scripts/env-file

# Refresh every generated file
generated: prepare openapi env-file

# Hold the dependency tree against deny.toml
deny:
    scripts/deny

# Run the benchmarks
bench *arguments:
    cargo bench {{ arguments }}

# Everything that CI checks
ci:
    .ci/run
