//! What steps change, recorded as patches: complete, against the base, brought back where they are wanted.

use std::path::PathBuf;

use serde_json::{Value, json};
use uuid::Uuid;

use super::runner::Ground;
use super::workspace::{REPOSITORY, shell};
use crate::support::ask;

impl Ground {
    pub(super) fn artifact_path(&self, job: Uuid, path: &str) -> PathBuf {
        self.directory.join("artifacts").join(job.to_string()).join(path)
    }

    pub(super) fn artifact(&self, job: Uuid, path: &str) -> Vec<u8> {
        let path = self.artifact_path(job, path);
        std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Runs shells as steps, one after another; answers with how the job ended.
    pub(super) async fn steps(&self, steps: &[(&str, &str, Value)]) -> (Uuid, String) {
        let job = self.submit_shells(steps).await;
        let end = self.end(job).await;
        (job, end)
    }

    pub(super) async fn submit_shells(&self, steps: &[(&str, &str, Value)]) -> Uuid {
        let steps: Vec<Value> = steps
            .iter()
            .map(|(id, script, more)| {
                let mut step = json!({ "step_id": id, "argv": ["sh", "-euc", script], "max_retries": 0 });
                step.as_object_mut()
                    .unwrap()
                    .extend(more.as_object().unwrap().clone());
                step
            })
            .collect();
        self.submit_steps(&json!(steps), &json!({})).await
    }

    /// Says whether a step's patch turns the project as it was into what the job's workspace is.
    fn applies(&self, job: Uuid, step: &str) {
        let patch = self.artifact_path(job, &format!("steps/{step}/patch.diff"));
        let work = self.directory.join(format!("workspaces/{job}/work"));
        let script = format!(
            "rm -rf ../check && git clone -q . ../check && cd ../check && git apply --binary --whitespace=nowarn '{}' \
             && diff -r --no-dereference --exclude=.git . '{}' \
             && (find . -name .git -prune -o -type f -perm -u+x -print | sort) > ../mine \
             && cd '{}' && (find . -name .git -prune -o -type f -perm -u+x -print | sort) | diff - '{}/mine'",
            patch.display(),
            work.display(),
            work.display(),
            self.directory.display(),
        );
        shell(&self.directory.join("project"), &script);
    }
}

/// What becomes of files, each in another way.
const EVERYTHING: &str = r#"
    echo more >> file                       # edited
    mkdir -p new/deep && echo new > new/deep/file && : > empty
    rm -r d                                 # deleted
    git mv old renamed && echo changed >> renamed
    chmod +x script
    printf 'b\0c\377' > binary && head -c 5000 /dev/urandom > random
    ln -s nowhere/at/all link && rm -f become && ln -s /etc/passwd become
    printf 'no end' > 'odd name
with "lines" and \ and é'
    : > -dash && printf 'crlf\r\n' > crlf
    echo '*.log' > .gitignore && echo kept-out > build.log
    git -c user.name=a -c user.email=a@b -c core.hooksPath=/dev/null commit -qam committed || exit 1
    echo after >> file
"#;
const WITH_MORE: &str = "seq 100 > old && echo x > script && echo y > become && printf 'a\\r\\nb\\n' > crlf && git add -A && git commit -qm more";

#[tokio::test]
async fn a_patch_holds_everything_a_step_did_and_applies_to_what_the_job_began_with() {
    for environment in [&[][..], &[("SANDBOX", "off")]] {
        let Some(ground) = Ground::sandboxed(environment).await else {
            return;
        };
        ground.project(&format!("{REPOSITORY}; {WITH_MORE}"));
        let (job, end) = ground
            .steps(&[
                ("all", EVERYTHING, json!({})),
                ("again", "echo last > new/last; rm link; rm build.log", json!({})),
            ])
            .await;
        assert_eq!(end, "succeeded", "{}", ground.log(job, "stderr").await);
        let first = String::from_utf8_lossy(&ground.artifact(job, "steps/all/patch.diff")).into_owned();
        for part in [
            "rename from old",
            "deleted file mode",
            "new file mode 120000",
            "old mode 100644\nnew mode 100755",
            "GIT binary patch",
            "+after",
        ] {
            assert!(first.contains(part), "{part}: {first}");
        }
        assert!(!first.contains("kept-out") && !first.contains("+last"), "{first}");
        // Each holds everything since the beginning.
        ground.applies(job, "again");
        assert_eq!(
            ground.artifact(job, "patch.diff"),
            ground.artifact(job, "steps/again/patch.diff")
        );
    }
}

#[tokio::test]
async fn a_patch_of_a_thousand_files_with_binary_ones_is_whole() {
    let Some(ground) = Ground::sandboxed(&[]).await else {
        return;
    };
    ground.project("git init -q . && for n in $(seq 500); do echo $n > f$n; head -c 300 /dev/urandom > b$n; done && git add -A && git commit -qm x");
    let script = r#"
        for n in $(seq 500); do echo changed >> f$n; done
        for n in $(seq 250); do head -c 2000 /dev/urandom > b$n; done
        for n in $(seq 251 400); do git mv b$n m$n; done
        for n in $(seq 401 500); do rm b$n; done
        mkdir many; for n in $(seq 300); do head -c 1000 /dev/urandom > many/$n; done"#;
    let (job, end) = ground.steps(&[("many", script, json!({}))]).await;
    assert_eq!(end, "succeeded", "{}", ground.log(job, "stderr").await);
    ground.applies(job, "many");
    let row = format!(
        "select size > 1000000 and encode(sha256, 'hex') is not null from artifact where job_id = '{job}' and path = 'patch.diff'"
    );
    assert_eq!(ask(&ground.pool, &row).await, "true");
}

#[tokio::test]
async fn patches_of_directories_that_are_no_repository_and_of_empty_ones_are_whole_too() {
    let Some(ground) = Ground::sandboxed(&[]).await else {
        return;
    };
    let (job, end) = ground
        .steps(&[("make", "mkdir d && echo new > d/file", json!({}))])
        .await;
    assert_eq!(end, "succeeded");
    let patch = String::from_utf8(ground.artifact(job, "steps/make/patch.diff")).unwrap();
    assert!(patch.contains("+++ b/d/file\n@@ -0,0 +1 @@\n+new\n"), "{patch}");

    ground.project("echo one > file; mkdir .hidden; echo x > .hidden/x; printf 'a\\0' > bin");
    let (job, end) = ground
        .steps(&[(
            "edit",
            "echo two > file; rm -r .hidden; printf 'b\\0' > bin",
            json!({}),
        )])
        .await;
    assert_eq!(end, "succeeded");
    let patch = ground
        .directory
        .join(format!("artifacts/{job}/steps/edit/patch.diff"));
    let work = ground.directory.join(format!("workspaces/{job}/work"));
    ground.project(&format!(
        "cp -R . ../check && cd ../check && git init -q . && git apply --binary '{}' && diff -r --exclude=.git . '{}'",
        patch.display(),
        work.display()
    ));
}

#[tokio::test]
async fn a_step_builds_on_a_patch_that_was_undone_and_a_conflict_says_where() {
    let Some(ground) = Ground::sandboxed(&[]).await else {
        return;
    };
    ground.project(REPOSITORY);
    let undo = "git checkout -q -- . && git clean -fdq; echo mine > other";
    let (job, end) = ground
        .steps(&[
            (
                "change",
                "echo changed > file; echo new > new; printf 'z\\0' > binary",
                json!({}),
            ),
            ("nothing", "true", json!({})),
            ("undo", undo, json!({})),
            (
                "build",
                "cat file new other; cmp binary binary",
                json!({ "apply_patches_from": ["steps/change/patch.diff"] }),
            ),
            (
                "twice",
                "cat file new other",
                json!({ "apply_patches_from": ["change", "nothing"] }),
            ),
        ])
        .await;
    assert_eq!(end, "succeeded", "{}", ground.log(job, "system").await);
    let said = "changed\nnew\nmine\n";
    assert_eq!(ground.log(job, "stdout").await, [said, said].concat());
    assert!(
        ground
            .log(job, "system")
            .await
            .contains("applied the patch of step change")
    );
    ground.applies(job, "twice");

    let (job, end) = ground
        .steps(&[
            ("change", "echo one way > file", json!({})),
            ("otherwise", "echo another way > file", json!({})),
            ("build", "echo never", json!({ "apply_patches_from": ["change"] })),
        ])
        .await;
    assert_eq!(end, "failed patch_apply_failed");
    let message = ask(
        &ground.pool,
        &format!("select message from job where id = '{job}'"),
    )
    .await;
    assert!(message.contains("change the same lines of: file"), "{message}");
    assert_eq!(ground.log(job, "stdout").await, "null");
    let work = ground.directory.join(format!("workspaces/{job}/work"));
    assert_eq!(
        std::fs::read_to_string(work.join("file")).unwrap(),
        "another way\n"
    );

    // A step that failed left a patch as well; one that never ran left none.
    let (job, end) = ground
        .steps(&[
            (
                "fails",
                "echo half > half; exit 1",
                json!({ "on_failure": "continue" }),
            ),
            ("build", "cat half", json!({ "apply_patches_from": ["fails"] })),
            ("early", "true", json!({ "apply_patches_from": ["late"] })),
            ("late", "true", json!({})),
        ])
        .await;
    assert_eq!(end, "failed missing_patch");
    assert_eq!(ground.log(job, "stdout").await, "half\n");
}

#[tokio::test]
async fn a_secret_in_a_file_fails_the_step_and_is_kept_nowhere() {
    let secret = "correct-horse-battery";
    let environment = [
        ("SENSITIVE_ENV_VARS", "MY_SECRET"),
        ("MY_SECRET", secret),
        ("ENV_ALLOWLIST", "PATH,MY_SECRET"),
    ];
    let Some(ground) = Ground::sandboxed(&environment).await else {
        return;
    };
    ground.project(REPOSITORY);
    let ways = [
        "echo \"key = $MY_SECRET\" > d/config",
        "printf 'a\\0b' > d/config; printf %s \"$MY_SECRET\" >> d/config",
        "printf %s \"$MY_SECRET\" | cut -c 1-9 | tr -d '\\n' > d/config; printf %s \"$MY_SECRET\" | cut -c 10- >> d/config",
        "mkdir -p d && printf '\\101KIA%s' IOSFODNN7REALKEY > d/config",
        "printf %s \"$MY_SECRET\" | base64 > d/config",
        // More than is read once it is found.
        "printf 'a\\0' > d/config; printf %s \"$MY_SECRET\" >> d/config; head -c 20000000 /dev/urandom >> d/config",
        "echo x > \"d/$MY_SECRET-config\"; echo \"$MY_SECRET\"",
    ];
    for way in ways {
        let (job, end) = ground
            .steps(&[("leak", way, json!({})), ("after", "true", json!({}))])
            .await;
        assert_eq!(end, "failed secrets_found", "{way}");
        let message = ask(
            &ground.pool,
            &format!("select message from job where id = '{job}'"),
        )
        .await;
        assert!(message.contains("config. Take it out there"), "{way}: {message}");
        assert!(
            !ground.artifact_path(job, "steps/leak/patch.diff").exists(),
            "{way}"
        );
        assert!(!ground.artifact_path(job, "patch.diff").exists(), "{way}");
        assert!(
            String::from_utf8(ground.artifact(job, "steps/leak/result.json"))
                .unwrap()
                .contains("\"secrets_found\"")
        );
    }
    shell(
        &ground.directory,
        &format!("! grep -r -e '{secret}' -e AKIAIOSFODNN7REALKEY artifacts"),
    );
    let rows = format!(
        "select count(*) from (select body as t from log union all select message from job union all select message from step union all select path from artifact) as said where t like '%{secret}%'"
    );
    assert_eq!(ask(&ground.pool, &rows).await, "0");
}

#[tokio::test]
async fn what_a_step_does_to_its_own_repository_runs_nothing_of_ours_and_hides_nothing() {
    for environment in [&[][..], &[("SANDBOX", "off")]] {
        let Some(ground) = Ground::sandboxed(environment).await else {
            return;
        };
        ground.project(REPOSITORY);
        let mark = ground.directory.join("mark");
        std::fs::create_dir(&mark).unwrap();
        shell(&mark, "chmod 777 .");
        let attack = format!("touch {}/", mark.display());
        let script = format!(
            r#"
            git update-index --assume-unchanged binary
            mkdir -p .git/hooks .git/info
            for hook in post-checkout post-index-change pre-commit reference-transaction post-merge pre-applypatch; do
                printf '#!/bin/sh\n{attack}%s\n' $hook > .git/hooks/$hook; chmod +x .git/hooks/$hook
            done
            git config core.fsmonitor '{attack}fsmonitor'; git config diff.external '{attack}diff'
            git config filter.evil.clean '{attack}clean; cat'; git config filter.evil.smudge '{attack}smudge; cat'
            git config merge.evil.driver '{attack}merge'
            printf '* filter=evil diff=evil merge=evil -text ident\nfile export-ignore\n' > .gitattributes
            printf '*\n' > .git/info/exclude
            printf '[submodule "s"]\n\tpath = s\n\turl = ext::sh -c {attack}sub\n\tupdate = !{attack}update\n' > .gitmodules
            mkdir -p inner && (cd inner && env -u GIT_DIR git init -q . && echo in > in && mkdir -p .git/hooks)
            echo changed > file; ln -s /etc/passwd passwd; ln -s .. up; rm -rf d; ln -s /tmp d
            printf 'hidden\0' > binary
            mkfifo pipe; git config core.worktree /; echo / > .git/objects/info/alternates"#
        );
        let (job, end) = ground
            .steps(&[
                ("attack", &script, json!({})),
                (
                    "undo",
                    "rm -rf d up passwd inner .gitattributes .gitmodules; echo one > file",
                    json!({}),
                ),
                (
                    "build",
                    "readlink d up passwd; cat file inner/in",
                    json!({ "apply_patches_from": ["attack"] }),
                ),
            ])
            .await;
        assert_eq!(
            end,
            "succeeded",
            "{} {}",
            ground.log(job, "stderr").await,
            ground.log(job, "system").await
        );
        assert_eq!(
            ground.log(job, "stdout").await,
            "/tmp\n..\n/etc/passwd\nchanged\nin\n"
        );
        let marks: Vec<_> = std::fs::read_dir(&mark)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert!(marks.is_empty(), "{marks:?}");
        let patch = String::from_utf8_lossy(&ground.artifact(job, "steps/attack/patch.diff")).into_owned();
        for part in [
            "b/.gitattributes",
            "b/inner/in",
            "+changed",
            "b/binary",
            "+/etc/passwd",
        ] {
            assert!(patch.contains(part), "{part}: {patch}");
        }
        assert!(!patch.contains("root:"), "{patch}");
    }
}

#[tokio::test]
async fn a_patch_that_is_too_large_is_not_kept_and_the_step_says_so() {
    let Some(ground) = Ground::sandboxed(&[("MAX_ARTIFACT_MB", "1")]).await else {
        return;
    };
    // Also where what is changed is not: hard links of it are files of their own in a patch.
    let linked =
        "head -c 300000 /dev/urandom > large; n=0; while [ $n -lt 9 ]; do n=$((n + 1)); ln large l$n; done";
    for change in ["head -c 3000000 /dev/urandom > large", linked] {
        let (job, end) = ground.steps(&[("large", change, json!({}))]).await;
        assert_eq!(end, "failed output_limit");
        let message = ask(
            &ground.pool,
            &format!("select message from job where id = '{job}'"),
        )
        .await;
        assert!(message.contains("raise MAX_ARTIFACT_MB"), "{message}");
        assert!(!ground.artifact_path(job, "steps/large/patch.diff").exists());
    }
}

#[tokio::test]
async fn a_file_that_git_does_not_compare_fails_the_step_by_its_name() {
    let Some(ground) = Ground::sandboxed(&[]).await else {
        return;
    };
    let (job, end) = ground
        .steps(&[("huge", "truncate -s 1100M huge", json!({}))])
        .await;
    assert_eq!(end, "failed output_limit");
    let message = format!("select message from job where id = '{job}'");
    let message = ask(&ground.pool, &message).await;
    assert!(message.contains("left \"huge\" with 1153 MB"), "{message}");
}

#[tokio::test]
async fn a_pipe_by_a_name_that_git_reads_holds_up_nobody() {
    let Some(ground) = Ground::sandboxed(&[]).await else {
        return;
    };
    let pipes = "mkdir -p in/.git/objects in/.git/refs; echo kept > in/kept
        mkfifo .gitignore .gitattributes .gitmodules in/.gitignore in/.gitattributes in/.git/HEAD in/.git/config
        mkdir -p named far/objects far/refs; mkfifo far/HEAD; echo 'gitdir: ../far' > named/.git
        mkdir linked; ln -s ../far linked/.git";
    let (job, end) = ground.steps(&[("pipes", pipes, json!({}))]).await;
    assert_eq!(end, "succeeded");
    let patch = String::from_utf8_lossy(&ground.artifact(job, "steps/pipes/patch.diff")).into_owned();
    assert!(patch.contains("b/in/kept"), "{patch}");
}
