//! Workspaces made from projects that are as they should be, and from projects that attack.

use std::path::Path;
use std::process::Command;

use uuid::Uuid;

use super::runner::Ground;
use crate::support::ask;

/// Does something to the project as its owner would.
pub(super) fn shell(directory: &Path, script: &str) {
    let done = Command::new("sh")
        .args(["-euc", script])
        .current_dir(directory)
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .envs([("HOME", "/nonexistent"), ("GIT_CONFIG_NOSYSTEM", "1")])
        .envs([("GIT_AUTHOR_NAME", "a"), ("GIT_AUTHOR_EMAIL", "a@b")])
        .envs([("GIT_COMMITTER_NAME", "a"), ("GIT_COMMITTER_EMAIL", "a@b")])
        .output()
        .unwrap();
    assert!(
        done.status.success(),
        "{script}: {}{}",
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr)
    );
}

/// A repository with one commit.
pub(super) const REPOSITORY: &str = "git init -q . && echo one > file && mkdir d && echo two > d/two && printf 'a\\0b' > binary \
    && git add -A && git commit -qm first";

impl Ground {
    pub(super) fn project(&self, script: &str) {
        shell(&self.directory.join("project"), script);
    }

    /// Runs a shell in the workspace; answers with how the job ended and what it printed.
    async fn sh(&self, script: &str) -> (Uuid, String, String) {
        let job = self.submit(&["sh", "-c", script]).await;
        let end = self.end(job).await;
        (job, end, self.log(job, "stdout").await)
    }

    async fn message(&self, job: Uuid) -> String {
        ask(&self.pool, &format!("select message from job where id = '{job}'")).await
    }
}

#[tokio::test]
async fn a_repository_is_cloned_and_shares_nothing_that_can_be_written() {
    let Some(ground) = Ground::sandboxed(&[]).await else {
        return;
    };
    ground.project(REPOSITORY);
    ground.project("echo uncommitted > other");
    let script = r#"
        git log --format=%s; git status --short; cat file d/two; ls
        echo changed > file && git -c user.name=a -c user.email=a@b commit -qam second && git log --format=%s | wc -l
        git push -q origin HEAD:stolen 2>/dev/null && echo pushed
        find .git -type f -links +1
        touch ../base/planted 2>/dev/null && echo planted; chmod u+w ../base/objects 2>/dev/null && echo opened
        true"#;
    let (_, end, said) = ground.sh(script).await;
    assert_eq!(end, "succeeded");
    assert_eq!(said, "first\none\ntwo\nbinary\nd\nfile\n2\n");
    ground.project("test $(cat file) = one && test $(git rev-list --all | wc -l) = 1 && git fsck --strict");
}

#[tokio::test]
async fn nothing_of_a_hostile_repository_runs() {
    for environment in [&[][..], &[("SANDBOX", "off")]] {
        let Some(ground) = Ground::sandboxed(environment).await else {
            return;
        };
        let mark = ground.directory.join("mark");
        std::fs::create_dir(&mark).unwrap();
        shell(&mark, "chmod 777 .");
        let attack = format!("touch {}/", mark.display());
        ground.project(REPOSITORY);
        ground.project(&format!(
            r#"
            echo '* filter=evil diff=evil merge=evil' > .gitattributes
            git config filter.evil.clean '{attack}clean; cat'; git config filter.evil.smudge '{attack}smudge; cat'
            printf '[submodule "s"]\n\tpath = s\n\turl = ext::sh -c {attack}submodule\n\tupdate = !{attack}update\n' > .gitmodules
            git update-index --add --cacheinfo 160000,$(git rev-parse HEAD),s
            git -c filter.evil.clean=cat add .gitattributes .gitmodules && git -c filter.evil.clean=cat commit -qm evil
            for hook in post-checkout post-index-change pre-commit reference-transaction post-upload-pack; do
                printf '#!/bin/sh\n{attack}%s\n' $hook > .git/hooks/$hook; chmod +x .git/hooks/$hook
            done
            git config core.fsmonitor '{attack}fsmonitor'; git config core.hooksPath "$PWD/.git/hooks"
            git config core.sshCommand '{attack}ssh'; git config core.gitProxy '{attack}proxy'
            git config core.alternateRefsCommand '{attack}alternates'; git config core.pager '{attack}pager'
            git config uploadpack.packObjectsHook '{attack}pack'; git config diff.external '{attack}diff'
            git config uploadpack.allowFilter true; git config remote.origin.url 'ext::sh -c {attack}remote'
            git config remote.origin.promisor true; git config extensions.partialClone origin
            git config remote.origin.uploadpack '{attack}uploadpack'
            printf '[alias]\n\tread-tree = !{attack}alias\n' > .git/evil; git config include.path evil
            git config includeIf.gitdir:/.path "$PWD/.git/evil""#
        ));
        // Making it set off the attacks on whoever made it, which is not what is looked at.
        shell(&mark, "rm -f -- *");
        let (job, end, said) = ground.sh("cat file; ls").await;
        assert_eq!(end, "succeeded", "{}", ground.message(job).await);
        assert_eq!(said, "one\nbinary\nd\nfile\ns\n");
        let marks: Vec<_> = std::fs::read_dir(&mark)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert!(marks.is_empty(), "{marks:?}");
    }
}

#[tokio::test]
async fn odd_repositories_are_cloned_too() {
    let odd = [
        (
            "git init -q . && git commit -q --allow-empty -m empty",
            "ls",
            "null",
        ),
        ("git init -q .", "ls; git rev-list --all | wc -l", "0\n"),
        (
            &format!("{REPOSITORY} && git checkout -q --detach && echo three > file && git commit -qam x"),
            "cat file",
            "three\n",
        ),
        (
            &format!("{REPOSITORY} && git clone -q --bare . ../bare && rm -rf .git * && mv ../bare/* ."),
            "cat file",
            "one\n",
        ),
        (
            "git init -q . && touch -- -rf 'two
lines' \"$(printf 'a\\377')\" A a && ln -s /etc/shadow link && git add -A && git commit -qm x",
            "ls -b; readlink link; cat link 2>/dev/null",
            "-rf\nA\na\na\\377\nlink\ntwo\\nlines\n/etc/shadow\n",
        ),
    ];
    for (made, script, expected) in odd {
        let Some(ground) = Ground::sandboxed(&[]).await else {
            return;
        };
        ground.project(made);
        let (job, end, said) = ground.sh(&format!("{script}; true")).await;
        assert_eq!(end, "succeeded", "{made}: {}", ground.message(job).await);
        assert_eq!(said, expected, "{made}");
    }
}

#[tokio::test]
async fn a_directory_that_is_no_repository_is_copied() {
    let Some(ground) = Ground::sandboxed(&[]).await else {
        return;
    };
    ground
        .project("echo one > file && mkdir -p d/e && ln -s ../file d/link && chmod +x file && ln file hard");
    let (_, end, said) = ground
        .sh("cat d/link; test -x file && echo x; echo two > file; cat hard; ls -A")
        .await;
    assert_eq!(
        (end.as_str(), said.as_str()),
        ("succeeded", "one\nx\none\nd\nfile\nhard\n")
    );
    ground.project("test $(cat file) = one");
}

#[tokio::test]
async fn a_project_that_leads_elsewhere_is_refused_with_what_to_do() {
    let refusals = [
        (
            "ln -s /etc/passwd out",
            "a symbolic link that leads out of it: ./out",
        ),
        ("mkdir d && ln -s ../../other d/out", "leads out of it: ./d/out"),
        ("ln -s . here && ln -s here/../../x out", "leads out of it: ./out"),
        (
            "echo 'gitdir: /elsewhere' > .git",
            "holds a .git that is no directory",
        ),
        ("ln -s /elsewhere .git", "holds a .git that is no directory"),
        (
            &format!("{REPOSITORY} && echo /elsewhere > .git/objects/info/alternates"),
            ".git/objects/info/alternates names another",
        ),
        (
            &format!("{REPOSITORY} && echo ../.. > .git/commondir"),
            ".git/commondir names another",
        ),
        ("cd .. && rmdir project", "is not there; make it"),
        ("cd .. && rmdir project && touch project", "is no directory"),
    ];
    let Some(ground) = Ground::sandboxed(&[]).await else {
        return;
    };
    let project = ground.directory.join("project");
    for (made, why) in refusals {
        ground.project(made);
        let (job, end, _) = ground.sh("true").await;
        let message = ground.message(job).await;
        assert_eq!(end, "failed workspace", "{made}: {message}");
        assert!(message.contains(why), "{made}: {message}");
        shell(&ground.directory, "rm -rf project");
        std::fs::create_dir(&project).unwrap();
    }
    let refusing = Ground::sandboxed(&[("NON_GIT_WORKDIR_STATUS", "failed")])
        .await
        .unwrap();
    refusing.project("touch file");
    let (job, end, _) = refusing.sh("true").await;
    assert_eq!(end, "failed workspace");
    assert!(
        refusing
            .message(job)
            .await
            .contains("is no repository, and NON_GIT_WORKDIR_STATUS is failed")
    );
}
