class Kbtriage < Formula
  desc "Triage of Windows kernel crash dumps for KB943650"
  homepage "@HOMEPAGE@"
  url "@DOWNLOADS@/kbtriage-@VERSION@-linux-x86_64.tar.gz"
  sha256 "@LINUX_SUM@"
  version "@VERSION@"
  license any_of: ["MIT", "Apache-2.0"]

  depends_on :linux
  depends_on arch: :x86_64

  def install
    bin.install "kbtriage"
    man1.install Dir["man/*.1.gz"]
    bash_completion.install "completions/kbtriage.bash" => "kbtriage"
    zsh_completion.install "completions/_kbtriage"
    fish_completion.install "completions/kbtriage.fish"
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/kbtriage --version")
  end
end
